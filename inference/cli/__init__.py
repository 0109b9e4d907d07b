"""The Click commands of inference."""

"""The pre-flight report: numbers of photos, and what they mean."""

"""The Click commands of finetune: options in, recipe called, result printed."""

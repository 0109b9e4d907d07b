"""What both sides need. Imports neither `inference` nor the rest of `finetune` (held by tests/test_architecture.py)."""

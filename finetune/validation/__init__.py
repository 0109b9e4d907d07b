"""Held-out loss, candidates, selection among them, previews."""

"""Adapter files and versions, ours and other trainers'."""

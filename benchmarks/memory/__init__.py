"""Planned memory against measured memory."""

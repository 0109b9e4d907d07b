"""Abuse: every document and command, given what it must refuse or bear, and judged."""

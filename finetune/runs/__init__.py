"""The folder of a run: its files, its page, its plots."""

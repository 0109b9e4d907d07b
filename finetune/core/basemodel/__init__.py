"""Which base, whether it is on disk, and loading it."""

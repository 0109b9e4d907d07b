"""Training settings, compared."""

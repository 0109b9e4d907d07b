"""Scenes against rendered truth: the same scene without and with a product."""

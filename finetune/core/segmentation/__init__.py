"""Learned models that say which pixels are the product."""

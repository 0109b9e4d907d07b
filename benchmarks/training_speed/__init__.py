"""Packshot's training step beside diffusers' script and a bare loop: steps per second."""

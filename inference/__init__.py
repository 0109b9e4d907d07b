"""Packshot's placing side: adapter + cutout -> scene -> score. Imports nothing, so that every `--help` is instant."""

"""Packshot's training side: photos -> prepared set -> adapter. Imports nothing, so that every `--help` is instant."""

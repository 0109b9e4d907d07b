"""Preparing a catalogue again after a change."""

"""Trains the small segmenter that ships with Packshot (`finetune/core/segmentation`); see README.md here."""

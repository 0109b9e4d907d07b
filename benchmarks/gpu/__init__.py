"""SDXL's training step on a CUDA device."""

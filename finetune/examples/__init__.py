"""From a cutout to training examples: backdrops, frames, inpainting masks, captions."""

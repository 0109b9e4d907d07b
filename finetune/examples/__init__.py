"""From a cutout to training examples: backdrops, aspect buckets, inpainting masks, captions."""

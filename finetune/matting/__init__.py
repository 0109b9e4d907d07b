"""From a photo to a cutout: mask, alpha, plain ground, unmixed edge colours."""

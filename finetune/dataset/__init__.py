"""From a product set to a prepared set on disk, photo by photo."""

"""From a prepared set to cached latents and text embeddings, and batches of them."""

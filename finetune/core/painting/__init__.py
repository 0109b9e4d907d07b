"""Base, picture, mask, prompt and adapter in; a picture out."""

"""Making an adapter version: what it starts from, how it is published."""

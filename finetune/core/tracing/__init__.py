"""What a model needs in memory, traced on tensors without data, and what a device has."""

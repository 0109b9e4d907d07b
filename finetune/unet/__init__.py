"""What is done to the UNet: LoRA, 4-bit weights, checkpointing, execution."""

"""What the gate catches and what it passes, on pictures whose truth is known."""

"""Parts of `benchmarks.training_speed`: the probe that times a loop from outside, the bare loop, stand-ins, a tiny base."""

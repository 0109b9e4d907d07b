"""What `benchmarks/embedded_base.py` measures with: recognisers, painted pictures, rows of the table."""

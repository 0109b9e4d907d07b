"""Parts of the benchmark `benchmarks.cutout`: measures, the peer, cost."""

"""Parts of the benchmark `benchmarks.prepare`: measures, the peer, cost."""

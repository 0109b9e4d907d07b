"""Files that last: durable writes, remembered fingerprints."""

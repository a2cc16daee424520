"""The proof of an engine: the eager reference, parity, latency."""

"""Latency profiling: how fast engines are on this machine, with intervals, and what takes the time."""

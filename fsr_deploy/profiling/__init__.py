"""Latency profiling: how fast engines are on this machine, with intervals, and where their time goes."""

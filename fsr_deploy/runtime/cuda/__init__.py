"""The part of CUDA that a session needs."""

"""The little of CUDA that a session needs."""

"""The networks, their data, training and measures (PyTorch)."""

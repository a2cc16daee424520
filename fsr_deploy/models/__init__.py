"""The networks and their weights (PyTorch)."""

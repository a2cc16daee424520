"""Training: data, losses, recipes and the loop (PyTorch)."""

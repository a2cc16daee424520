"""From a face super-resolution network in PyTorch to a proven engine that runs at full speed."""

__version__ = "0.1.0"

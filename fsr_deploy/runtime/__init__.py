"""Engines and how they are run; needs neither torch nor onnx."""

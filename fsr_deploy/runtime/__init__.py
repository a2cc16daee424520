"""Engines, frame pipelines and profiling; needs neither torch nor onnx."""

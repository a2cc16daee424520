"""The ONNX graph: what is exported, how it is written, what it costs."""

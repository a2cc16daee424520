"""Post-training INT8: which convolutions, with which ranges, written into the graph as Quantize/Dequantize pairs."""

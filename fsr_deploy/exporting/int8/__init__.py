"""Post-training INT8 and FP8: which convolutions, with which ranges, written into the graph as pairs of nodes."""

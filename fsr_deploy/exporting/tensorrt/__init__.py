"""TensorRT plans: built, proven and added to a bundle."""

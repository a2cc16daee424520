"""TensorRT plans behind the Session protocol, from TensorRT 8.6 to 11."""

"""Serving bundles by servers of others: model repositories for NVIDIA Triton."""

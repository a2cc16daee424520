"""Faces for training and evaluation, from a folder or drawn."""

"""Faces to train and to measure on: from a folder, or drawn."""

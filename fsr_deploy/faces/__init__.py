"""Whole frames: finding faces in them, cutting LR faces out, and pasting SR faces back."""

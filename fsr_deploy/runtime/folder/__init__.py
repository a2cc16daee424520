"""Folders of frames: which files, the pipeline, the journal."""

"""Hostile files made by scripts, and fuzz targets for the readers (``make fuzz``)."""

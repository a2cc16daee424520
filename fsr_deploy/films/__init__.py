"""Films: read, restored frame by frame and written again, with their sound, subtitles and times."""

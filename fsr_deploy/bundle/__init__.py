"""The bundle: the directory that an export writes and a deployment reads."""

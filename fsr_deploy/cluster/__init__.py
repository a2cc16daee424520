"""A folder of faces on a cluster of Ray's: who does which files, and what comes back."""

"""How close SR faces are to HR faces, and tables of it."""

"""Which modules compute in which precision, and the search for those that must not be reduced."""

"""The fastest engine of a network on this machine, chosen by measurement among those that keep their budget."""

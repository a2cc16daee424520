"""The libraries that run a graph, each behind the Session protocol."""

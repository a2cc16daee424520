"""Where an engine's time goes: by module of the network."""

"""An engine's time by module of the network."""

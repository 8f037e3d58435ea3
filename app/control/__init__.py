"""The control loops: monitor, janitor, parked claims; and the spawner with its backends."""

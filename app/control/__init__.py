"""The control loops: monitor, janitor, parked claims, the ends of attempts; and the spawner with its backends."""

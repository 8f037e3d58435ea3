"""How a spawner starts workers: one module a backend, all with the same four verbs (see ``base``)."""

"""The spawner, a process of its own: starts workers for queued jobs, as local processes or as pods."""

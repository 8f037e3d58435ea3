"""The shapes of the API: tasks, jobs, workers, and the events of a log, as programs see them."""

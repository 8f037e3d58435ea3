"""The background loops of a replica: monitor, janitor, waiting claims, batched finishes, polled commands."""

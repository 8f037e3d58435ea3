"""Whether a replica and its database are well: readiness, locks, refused writes, stopped spawners."""

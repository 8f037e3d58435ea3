"""The health of a replica and its database: readiness, locks, refused writes, stopped spawners."""

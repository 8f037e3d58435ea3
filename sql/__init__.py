"""The schema and every statement of ado, as files; nothing here but SQL and its cookbook."""

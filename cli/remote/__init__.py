"""The server as a command sees it: contexts, connections, checked answers, logs that are followed."""

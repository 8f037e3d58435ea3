"""The content of the API: one module for tasks, workers, streams and tokens, and the one explicit table of them."""

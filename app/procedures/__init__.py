"""The procedures of the API, one module for each group, and ``table``, which lists them all."""

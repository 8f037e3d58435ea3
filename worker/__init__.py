"""One process that runs jobs. It calls the server's API and has no database credentials.

A worker registers, claims jobs, runs attempts side by side, and drains or stops (``supervisor``). An attempt makes a
directory, starts an agent under a keeper, sends its output in numbered batches, and reports the finish (``attempt``).
"""

"""One process that runs jobs. It speaks to the server by the wire alone and holds no database credentials.

Life of a worker: register, claim, run attempts side by side, drain or stop, say so. Life of an attempt: directory,
agent under a keeper, output in numbered batches, finish. ``supervisor`` is the first, ``attempt`` the second.
"""

"""The command ``ado``: speaks to a server by the wire; ``serve`` alone starts one, ``database`` opens its database."""

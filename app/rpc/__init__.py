"""The tRPC v11 wire: ``server``, ``client``, and here what both ends share. It knows nothing of tasks.

The protocol is that of ``@trpc/server`` 11, and the server's behaviour was compared with it.
"""

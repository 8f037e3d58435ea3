"""The tRPC v11 wire. ``server`` and ``client`` are its two ends; what both use is here. Knows nothing of tasks.

The protocol is that of ``@trpc/server`` 11; what this server must take and send was measured against it.
"""

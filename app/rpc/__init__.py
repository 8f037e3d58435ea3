"""The tRPC v11 wire: procedures, envelopes, HTTP and WebSocket, and a client. Knows nothing of what it carries.

The protocol is that of ``@trpc/server`` 11; what this server must take and send was measured against it.
"""

"""One API replica: how it is put together, its HTTP and WebSocket protocols, and the limits of its connections."""

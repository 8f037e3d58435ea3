"""One API replica: its parts, its HTTP and WebSocket protocols, and the limits of its connections."""

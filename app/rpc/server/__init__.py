"""The server's end of the wire (tRPC v11): procedures, HTTP, server-sent events, WebSocket, TypeScript types."""

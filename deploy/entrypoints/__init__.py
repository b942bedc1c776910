"""Entrypoints: HTTP, WebSocket, the command line, and server processes."""

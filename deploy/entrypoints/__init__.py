"""Entrypoints: HTTP, WebSocket, command line and server processes."""

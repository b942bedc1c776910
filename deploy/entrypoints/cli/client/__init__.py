"""Commands that use the HTTP API of a running server."""

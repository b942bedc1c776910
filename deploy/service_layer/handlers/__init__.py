"""Handlers, one function per command or event: `(message, uow, *, dependencies) -> events`."""

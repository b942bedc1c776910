"""One function per command or event: `(message, uow, *, what it depends on) -> events`."""

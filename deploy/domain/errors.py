"""Everything that can be wrong with a request, as one tree.

DomainError
├── NotFound        there is no such thing (or the asker may not know of it)
├── Forbidden       it exists, but this asker may not do that
├── Conflict        it cannot be done in the present state
├── InvalidInput    the request itself is wrong
└── NotSignedIn     nobody is asking, or the proof is not valid

The text of an error is for the person who reads it: what happened, and what to do next.
entrypoints/errors.py maps the tree to HTTP status codes.
"""


class DomainError(Exception):
    """The request cannot be fulfilled; `str(error)` says why."""


class NotFound(DomainError):
    """The thing that was named does not exist."""


class Forbidden(DomainError):
    """The asker is known, but may not do this."""


class Conflict(DomainError):
    """The present state does not allow it."""


class InvalidInput(DomainError):
    """The values that were given make no sense."""


class NotSignedIn(DomainError):
    """No credentials, or none that count."""

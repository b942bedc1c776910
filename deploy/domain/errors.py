"""Everything that can be wrong with a request, as one tree.

DomainError
├── NotFound        there is no such thing (or the asker may not know of it)
├── Forbidden       it exists, but this asker may not do that
├── Conflict        it cannot be done in the present state
├── InvalidInput    the request itself is wrong
├── NotSignedIn     nobody is asking, or the proof is not valid
└── TryLater        the request may succeed later
    ├── TooManyAttempts   a limit on password attempts was reached
    └── Overloaded        the server has too much to do

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


class TryLater(DomainError):
    """The request may succeed after `retry_after` seconds."""

    def __init__(self, text: str, retry_after: int) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class TooManyAttempts(TryLater):
    """The client has used up its password attempts."""


class Overloaded(TryLater):
    """The server has too much to do; nothing was changed."""

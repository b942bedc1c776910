"""The errors of a request, as one class hierarchy.

DomainError
├── NotFound        the resource does not exist (or the caller is not allowed to know about it)
├── Forbidden       the resource exists, but the caller is not allowed to do this
├── Conflict        the current state does not allow it
├── InvalidInput    the request is invalid
├── NotSignedIn     credentials are missing or invalid
└── TryLater        the request can succeed later
    ├── TooManyAttempts   the limit on password attempts was reached
    ├── TooManyWaiting    the limit on waiting deployments was reached
    └── Overloaded        the server is overloaded

People see the error messages, which say what is wrong and what to do next. entrypoints/errors.py maps the tree to HTTP
status codes.
"""


class DomainError(Exception):
    """The request failed. `str(error)` says why."""


class NotFound(DomainError):
    """The resource does not exist."""


class Forbidden(DomainError):
    """The caller is authenticated but not allowed to do this."""


class Conflict(DomainError):
    """The current state does not allow the request."""


class InvalidInput(DomainError):
    """The request contains invalid values."""


class NotSignedIn(DomainError):
    """Credentials are missing or invalid."""


class TryLater(DomainError):
    """The request can succeed after `retry_after` seconds."""

    def __init__(self, text: str, retry_after: int) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class TooManyAttempts(TryLater):
    """The client has used up its password attempts."""


class TooManyWaiting(TryLater):
    """Too many deployments are waiting."""


class Overloaded(TryLater):
    """The server is overloaded. Nothing was changed."""

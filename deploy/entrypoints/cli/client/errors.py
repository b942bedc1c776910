"""Errors of client commands and their exit codes."""

from __future__ import annotations

# Scripts can tell a failed deployment from one that could not be started or watched by the exit code.
SUCCESS, FAILURE, USAGE, CANCELLED, ERROR, INTERRUPTED = 0, 1, 2, 3, 4, 130


class ClientError(Exception):
    """A command failed. The message is for the user, and `exit_code` is for scripts."""

    exit_code = ERROR


class UsageError(ClientError):
    """The command was called with wrong or missing arguments."""

    exit_code = USAGE


class InvalidValues(UsageError):
    """Values do not match the inputs of the service. `faults` maps input names to messages."""

    def __init__(self, faults: dict[str, str]) -> None:
        width = max((len(name) for name in faults), default=0)
        lines = (f"  {name:{width}}  {message}" for name, message in faults.items())
        super().__init__("\n".join(["Some values are missing or invalid:", *lines]))
        self.faults = faults


class NotSignedIn(ClientError):
    """There is no login, or the server no longer accepts it."""


class Unreachable(ClientError):
    """No response was received. It is unknown whether the request arrived."""


class NeverConnected(Unreachable):
    """The connection failed, so the request did not arrive."""


class Unavailable(ClientError):
    """The server or its proxy asks to retry later. `retry_after` is in seconds."""

    def __init__(self, text: str, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Refused(ClientError):
    """The server refused the request. `status` is the HTTP status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status

"""What can go wrong between here and the server, each told in a sentence that says what to do."""

from __future__ import annotations

# Exit codes: a script can tell a deployment that failed from one that could not be started or watched.
SUCCESS, FAILURE, USAGE, CANCELLED, NOT_DONE, INTERRUPTED = 0, 1, 2, 3, 4, 130


class ClientError(Exception):
    """A command could not be carried out; the text is for the user, `exit_code` for scripts."""

    exit_code = NOT_DONE


class WrongUsage(ClientError):
    """The command was not given what it needs."""

    exit_code = USAGE


class WrongAnswers(WrongUsage):
    """Answers do not fit what the service asks for; `faults` by the name of each."""

    def __init__(self, faults: dict[str, str]) -> None:
        width = max((len(name) for name in faults), default=0)
        lines = (f"  {name:{width}}  {words}" for name, words in faults.items())
        super().__init__("\n".join(["Some answers are missing or do not fit:", *lines]))
        self.faults = faults


class NotSignedIn(ClientError):
    """There is no login, or the server does not accept it any more."""


class Unreachable(ClientError):
    """No answer came; nobody knows whether the request has arrived."""


class NeverConnected(Unreachable):
    """There is no connection: the request has certainly not arrived."""


class Unavailable(ClientError):
    """The server (or the proxy before it) asks to come back; `retry_after` in seconds."""

    def __init__(self, text: str, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Refused(ClientError):
    """The server has understood and says no; `status` as in HTTP."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status

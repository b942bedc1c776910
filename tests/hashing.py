"""Password hashing that can be watched: the real computation, with a note of each and a gate before it."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from pwdlib import PasswordHash

from deploy.adapters.tokens import Passwords
from tests.e2e.waiting import PATIENCE


class WatchedHashing(PasswordHash):
    """argon2id with small parameters. `checked` holds the hashes that passwords were compared with.

    While `gate` is closed (`close`), every computation waits in its thread; `waiting` counts those.
    """

    def __init__(self) -> None:
        self._argon2 = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        self._gate = threading.Event()
        self._gate.set()
        self.checked: list[str] = []
        self.waiting = 0

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        """Return the hash of a password."""
        self._pass_gate()
        return self._argon2.hash(password, salt=salt)

    def verify(self, password: str | bytes, hash: str | bytes) -> bool:
        """Return True if it is the password; a hash that is not well-formed is an error, since it costs no time."""
        self.checked.append(str(hash))
        self._pass_gate()
        try:
            return self._argon2.verify(hash, password)
        except VerifyMismatchError:
            return False

    def close(self) -> None:
        """Let computations wait from now on."""
        self._gate.clear()

    def open(self) -> None:
        """Let them go on."""
        self._gate.set()

    def _pass_gate(self) -> None:
        self.waiting += 1
        assert self._gate.wait(PATIENCE)
        self.waiting -= 1


def watched() -> tuple[Passwords, WatchedHashing]:
    """Return passwords, and what computes their hashes."""
    hashing = WatchedHashing()
    return Passwords(hashing), hashing

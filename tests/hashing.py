"""Hash passwords in a way that tests can observe: a real computation, a record of each call, and a gate before it."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from pwdlib import PasswordHash

from deploy.adapters.tokens import Passwords
from tests.e2e.waiting import TIMEOUT


class ObservedHashing(PasswordHash):
    """argon2id with small parameters. `checked` holds the hashes that passwords were compared with.

    While the gate is closed (`close`), every computation waits in its thread. `waiting` counts them.
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
        """Return True if the password matches. Raise for a malformed hash, because checking it would take no time."""
        self.checked.append(str(hash))
        self._pass_gate()
        try:
            return self._argon2.verify(hash, password)
        except VerifyMismatchError:
            return False

    def close(self) -> None:
        """Make computations wait from now on."""
        self._gate.clear()

    def open(self) -> None:
        """Let the waiting computations continue."""
        self._gate.set()

    def _pass_gate(self) -> None:
        self.waiting += 1
        assert self._gate.wait(TIMEOUT)
        self.waiting -= 1


def observed_passwords() -> tuple[Passwords, ObservedHashing]:
    """Return a `Passwords` and the hashing that it uses."""
    hashing = ObservedHashing()
    return Passwords(hashing), hashing

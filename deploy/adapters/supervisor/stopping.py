"""Ending a run before its time: why, and which signals when."""

from __future__ import annotations

import time

from .processes import kill, kill_tree, terminate_tree
from .system import signal

KILL_PATIENCE = 5.0  # seconds until processes that SIGKILL cannot end are left
KILL_INTERVAL = 0.05


class Stopping:
    """The end of a run that does not end by itself; the first cause counts."""

    def __init__(self) -> None:
        self.cause: str | None = None
        self.reason = ""
        self.gave_up = False  # there is something left that cannot be killed
        self._plan: list[tuple[float, int]] = []  # signals to send, and when
        self._kill_until = float("inf")

    @property
    def due(self) -> float:
        """When the next signal is to be sent (monotonic); infinity when none is."""
        return self._plan[0][0] if self._plan else float("inf")

    def begin(self, grace: float, *, interrupt: bool) -> None:
        """Plan the signals, `grace` seconds apart; the first is SIGINT when `interrupt` says so."""
        numbers = [signal.SIGTERM, signal.SIGKILL]
        if interrupt:
            numbers.insert(0, signal.SIGINT)
        now = time.monotonic()
        self._plan = [(now + grace * step, number) for step, number in enumerate(numbers)]

    def hurry(self) -> None:
        """When the interrupted script has ended, those it left need not wait for their SIGTERM."""
        if self._plan and self._plan[0][1] == signal.SIGTERM:
            early = max(0.0, self._plan[0][0] - time.monotonic())
            self._plan = [(at - early, number) for at, number in self._plan]

    def clear(self) -> None:
        """Send no more signals: nobody is left."""
        self._plan.clear()

    def keep_time(self, now: float, pid: int) -> None:
        """Send the signals that are due: SIGINT to the script, `pid`, the others to the whole tree."""
        while self.due <= now:
            _, number = self._plan.pop(0)
            if number == signal.SIGINT:
                kill(pid, signal.SIGINT)
            elif number == signal.SIGTERM:
                terminate_tree()
            else:
                self._kill_all(now)

    def _kill_all(self, now: float) -> None:
        """Kill all there is, again and again until nothing is left, or only what cannot be killed."""
        self._kill_until = min(self._kill_until, now + KILL_PATIENCE)
        kill_tree()
        if now < self._kill_until:
            self._plan.append((now + KILL_INTERVAL, signal.SIGKILL))
        else:
            self.gave_up = True

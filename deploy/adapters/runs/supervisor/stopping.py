"""Stop a run early: record the cause and send the signals."""

from __future__ import annotations

import time

from .processes import kill, kill_tree, terminate_tree
from .system import signal

KILL_TIMEOUT = 5.0  # seconds to wait for processes that SIGKILL does not end
KILL_INTERVAL = 0.05


class Stopping:
    """Stops a run. Only the first cause counts."""

    def __init__(self) -> None:
        self.cause: str | None = None
        self.reason: tuple[str, ...] = ("",)  # a template, and the values in it
        self.gave_up = False  # some processes cannot be killed
        self._plan: list[tuple[float, int]] = []  # signals to send, each with its time
        self._kill_until = float("inf")

    @staticmethod
    def duration(grace: float, *, interrupt: bool) -> float:
        """Return the number of seconds between the first signal and the last, SIGKILL."""
        return grace * (2 if interrupt else 1)

    @property
    def due(self) -> float:
        """Return the time of the next signal (monotonic), or infinity if no signal is scheduled."""
        return self._plan[0][0] if self._plan else float("inf")

    def begin(self, grace: float, *, interrupt: bool) -> None:
        """Schedule the signals `grace` seconds apart, starting with SIGINT if `interrupt` is true."""
        numbers = [signal.SIGTERM, signal.SIGKILL]
        if interrupt:
            numbers.insert(0, signal.SIGINT)
        now = time.monotonic()
        self._plan = [(now + grace * step, number) for step, number in enumerate(numbers)]

    def expedite(self) -> None:
        """Send SIGTERM to the remaining processes immediately, after the interrupted script has ended."""
        if self._plan and self._plan[0][1] == signal.SIGTERM:
            early = max(0.0, self._plan[0][0] - time.monotonic())
            self._plan = [(at - early, number) for at, number in self._plan]

    def clear(self) -> None:
        """Cancel all scheduled signals, because no processes are left."""
        self._plan.clear()

    def send_due_signals(self, now: float, pid: int) -> None:
        """Send the signals that are due: SIGINT to the script `pid`, the others to the whole tree."""
        while self.due <= now:
            _, number = self._plan.pop(0)
            if number == signal.SIGINT:
                kill(pid, signal.SIGINT)
            elif number == signal.SIGTERM:
                terminate_tree()
            else:
                self._kill_all(now)

    def _kill_all(self, now: float) -> None:
        """Kill all processes. Repeat until none are left or KILL_TIMEOUT has passed."""
        self._kill_until = min(self._kill_until, now + KILL_TIMEOUT)
        kill_tree()
        if now < self._kill_until:
            self._plan.append((now + KILL_INTERVAL, signal.SIGKILL))
        else:
            self.gave_up = True

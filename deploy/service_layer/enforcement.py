"""Enforce deadlines and cancellations of a run whose supervisor does not react.

Scripts run as the same user as their supervisor, so they can stop or kill it. The worker therefore watches the
supervisor from outside. If it is stopped when the run has to end, the worker resumes it. If that does not help within
the time that the supervisor has to end the run, the worker ends all processes of the run itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from deploy.adapters.runs.directory import RunDirectory
from deploy.adapters.runs.processes import Action, RunProcesses, control_processes
from deploy.adapters.runs.start import DeployUser, RunError

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
# Seconds after the supervisor had to send its last signal.
STOPPED_GRACE = 2.0  # to a supervisor that is stopped
BUSY_GRACE = 15.0  # to one that is not, before the worker kills what is below it
STUCK_GRACE = 60.0  # to one that is not, before the worker kills it as well
ORPHAN_GRACE = 8.0  # to the keeper, when the supervisor is dead
START_TIMEOUT = 60.0
ENDED_BY_WORKER = (
    "The run's supervisor did not react, so the worker ended all processes of the run. "
    "The last lines of its output might be missing."
)


class Enforcer:
    """Watches the supervisor of one run. `cancelled_at` returns the monotonic time of a cancel, or None."""

    def __init__(self, run: RunDirectory, user: DeployUser | None, cancelled_at: Callable[[], float | None]) -> None:
        self._run = run
        self._user = user
        self._cancelled_at = cancelled_at
        self._processes: RunProcesses | None = None
        self._began = time.monotonic()
        self._orphaned: float | None = None
        self.never_started = False
        """True if the supervisor has not started the script in time. It can then no longer start it."""

    async def watch(self) -> None:
        """Watch the run until canceled."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self._check()
            except (OSError, RunError) as error:
                log.warning("Failed to enforce the end of the run in %s: %s", self._run.path, error)

    def timed_out(self) -> str | None:
        """Return a sentence if the run has exceeded its timeout, else None."""
        found = self._known()
        if found is None or found.deadline is None or found.timeout is None or time.monotonic() < found.deadline:
            return None
        return f"The run was stopped after its timeout of {found.timeout:g} s."

    async def end_all(self) -> None:
        """End what a dead supervisor has left of the run."""
        try:
            await self._control("all")
        except RunError as error:
            log.warning("Failed to end the run in %s: %s", self._run.path, error)

    async def _check(self) -> None:
        found, now = self._known(), time.monotonic()
        if self._run.finished() or not self._run.alive():
            return
        if found is None:
            self._give_up_start(now)
            return
        if not found.has_supervisor:
            self._orphaned = self._orphaned or now
            if now > self._orphaned + ORPHAN_GRACE:
                await self._control("all")
        elif (due := self._due(found)) is not None and now > due:
            await self._enforce(found, now - due - found.stop_seconds)

    async def _enforce(self, found: RunProcesses, late: float) -> None:
        """End a run whose supervisor should have killed its last process `late` seconds ago."""
        if not found.can_react:
            await self._control("all" if late > STOPPED_GRACE else "resume")
        elif late > BUSY_GRACE:
            await self._control("all" if late > STUCK_GRACE else "spare")

    def _due(self, found: RunProcesses) -> float | None:
        """Return the time at which the run has to end, if any."""
        return min((at for at in (found.deadline, self._cancelled_at()) if at is not None), default=None)

    def _give_up_start(self, now: float) -> None:
        if not self._run.started() and now > self._began + START_TIMEOUT:
            # A stopped supervisor reads this before it could start the script.
            self._run.send({"cancel": "The run did not start in time."})
            self.never_started = True

    def _known(self) -> RunProcesses | None:
        if self._processes is None and (start := self._run.start_record()) is not None:
            self._processes = RunProcesses.of(start.data, start.at)
        return self._processes

    async def _control(self, action: Action) -> None:
        found = self._known()
        if found is None:
            return
        left = await control_processes(found, action, self._user)
        if action == "all":
            log.warning("Ended the processes of the run in %s%s", self._run.path, f", except {left}" if left else "")

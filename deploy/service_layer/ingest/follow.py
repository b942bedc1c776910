"""Follow a run: read its spool as it grows, and store each line exactly once."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import TypeVar

import stamina

from deploy.adapters.database import DATABASE_ERRORS, is_away, is_full, is_outdated
from deploy.adapters.runs.directory import Record, RunDirectory, SpoolCorrupt
from deploy.domain.commands import FailLostRun, IngestOutput, ShowOpenLine
from deploy.domain.events import LinePrinted
from deploy.domain.masking import Mask
from deploy.domain.policy import WORKER
from deploy.domain.reports import clean_text
from deploy.domain.rights import EVERYTHING
from deploy.service_layer.enforcement import ENDED_BY_WORKER, Enforcer
from deploy.service_layer.ingest.entries import EXIT, OPEN, START, ReportNotes, masked_entries
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import OpenUnitOfWork

log = logging.getLogger(__name__)

Result = TypeVar("Result")
# Bytes of spool per transaction: large enough to keep up with a flood of output, and small enough not to starve other
# runs.
BATCH = 128 * 1024
# Seconds between checks of the spool without a wake-up, in case a wake-up is lost.
POLL_SECONDS = 1.0
# Seconds between attempts to reach the database.
FIRST_PAUSE, MAX_PAUSE = 0.1, 5.0
LOST = (
    "The run was lost: its supervisor died before reporting a result (killed, or the machine was restarted). "
    "Check what the deployment has done so far, then retry it."
)
UNDECIDED = (
    "The run was lost: its worker died while starting it, and the supervisor it left behind neither starts nor exits. "
    "Find the suspended fastDeploy process on that host, kill it, then retry."
)
NOT_STARTED = "The deployment could not be started: {}"


class Follower:
    """Reads the spool of one deployment, from the offset stored in the database, to its end."""

    def __init__(
        self,
        deployment_id: int,
        run: RunDirectory,
        bus: MessageBus,
        open_unit_of_work: OpenUnitOfWork,
        mask: Mask,
        offset: int | None = None,
        refusal: Callable[[], str] = lambda: "",
        enforcer: Enforcer | None = None,
    ) -> None:
        """Follow the run of a deployment.

        `offset` is the number of bytes of the spool that are already stored; if it is None, read it from the database.
        `refusal` returns the reason supervisors cannot be started, or an empty string. `enforcer` ends what a dead
        supervisor has left, and knows why the run had to end.
        """
        self.deployment_id = deployment_id
        self._run = run
        self._bus = bus
        self._open_unit_of_work = open_unit_of_work
        self._mask = mask
        self._offset = offset
        self._refusal = refusal
        self._enforcer = enforcer
        self._notes = ReportNotes()
        self._grown = asyncio.Event()
        self._lines = 0

    async def follow(self) -> None:
        """Store the output until the end of the run is stored or the run is known to be lost."""
        loop = asyncio.get_running_loop()
        wake = self._run.open_wake()
        loop.add_reader(wake, self._on_wake, wake)
        try:
            await self._read_to_end()
        finally:
            loop.remove_reader(wake)
            os.close(wake)

    def _on_wake(self, wake: int) -> None:
        self._run.drain_wake(wake)
        self._grown.set()

    async def _read_to_end(self) -> None:
        offset = await persistently(self._stored_offset) if self._offset is None else self._offset
        if offset:
            self._mask.resume()
        begun, position = False, offset
        while offset is not None:
            # Keep this order: if the supervisor exits in between, it has already written everything.
            alive = self._run.alive()
            self._grown.clear()
            try:
                records, after = self._run.read(position or offset, limit=BATCH)
            except (SpoolCorrupt, OSError) as error:
                await self._fail(f"The run was lost: its spool cannot be read ({self._mask.text(str(error))}).")
                return
            if [record.kind for record in records] == [START] and not begun:
                # There is nothing to show. Store it with the next records, or alone if they take too long.
                begun = True
                await self._wait()
            elif records:
                offset, position = await self._take(records, offset, after)
            elif not alive:
                refusal = "" if offset or begun else self._refusal()
                await (self._fail(NOT_STARTED.format(self._mask.text(refusal))) if refusal else self._end_lost())
                return
            elif self._enforcer is not None and self._enforcer.never_started:
                await self._fail(UNDECIDED)
                return
            else:
                await self._wait()

    async def _take(self, records: list[Record], before: int, after: int) -> tuple[int | None, int | None]:
        """Store the records and show an unfinished line. Return the stored offset, and where to continue reading.

        Lines that have not ended yet are not stored, and neither is an offset after them.
        """
        stored, position = before, after
        if any(record.kind != OPEN for record in records):
            ingested = await self._ingest(records, before, after)
            if ingested is None:
                return None, None
            stored = position = ingested
        await self._show_open_line(records[-1])
        return stored, position

    async def _ingest(self, records: list[Record], before: int, after: int) -> int | None:
        entries = tuple(masked_entries(records, self._mask, self._notes))
        command = IngestOutput(deployment_id=self.deployment_id, entries=entries, offset_before=before, offset=after)
        events = await persistently(lambda: self._bus.handle(command, by=WORKER))
        if not events:
            # No events: the batch only contained `start`, or it was already stored by a commit whose response was
            # lost.
            return await persistently(self._stored_offset)
        self._lines = next((event.number for event in reversed(events) if isinstance(event, LinePrinted)), self._lines)
        return None if records[-1].kind == EXIT else after

    async def _show_open_line(self, record: Record) -> None:
        if record.kind != OPEN:
            return
        at = datetime.fromtimestamp(record.at, timezone.utc)
        text = clean_text(self._mask.open_line(str(record.data)))
        command = ShowOpenLine(deployment_id=self.deployment_id, number=self._lines + 1, at=at, text=text)
        try:
            await self._bus.handle(command, by=WORKER)
        except DATABASE_ERRORS as error:
            log.debug("Failed to show a line that has not ended: %s", error)  # it is stored when it ends

    async def _stored_offset(self) -> int | None:
        async with self._open_unit_of_work() as uow:
            deployment = await uow.deployments.get(self.deployment_id, visible=EVERYTHING)
            self._lines = deployment.lines
            return None if deployment.run_ended is not None else deployment.spool_offset

    async def _end_lost(self) -> None:
        """End a run whose supervisor is dead: as cancelled or timed out if it had to end anyway, else as lost."""
        timeout = None
        if self._enforcer is not None:
            await self._enforcer.end_all()  # before the next deployment of the lane can start
            timeout = self._enforcer.timed_out()
        if (cancelled := await persistently(self._cancel_reason)) is not None:
            await self._fail(cancelled, "cancelled", ENDED_BY_WORKER)
        elif timeout is not None:
            await self._fail(timeout, "timeout", ENDED_BY_WORKER)
        else:
            await self._fail(LOST)

    async def _cancel_reason(self) -> str | None:
        async with self._open_unit_of_work() as uow:
            return (await uow.deployments.get(self.deployment_id, visible=EVERYTHING)).cancel_requested

    async def _fail(self, reason: str, cause: str = "lost", note: str = "") -> None:
        command = FailLostRun(deployment_id=self.deployment_id, reason=reason, cause=cause, note=note)
        await persistently(lambda: self._bus.handle(command, by=WORKER))

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._grown.wait(), POLL_SECONDS)
        except asyncio.TimeoutError:
            return


async def persistently(attempt: Callable[[], Awaitable[Result]]) -> Result:
    """Retry with backoff while the database is unreachable, full, or being migrated. Raise any other database error."""
    # Every batch comes through here, and the machinery for retries takes longer than a statement.
    try:
        return await attempt()
    except Exception as error:
        if not _is_outage(error):
            raise
    retries = stamina.retry_context(
        on=_is_outage, attempts=None, timeout=None, wait_initial=FIRST_PAUSE, wait_max=MAX_PAUSE, wait_jitter=0.1
    )
    async for retry in retries:
        with retry:
            return await attempt()
    raise AssertionError("it retries without end")


def _is_outage(error: Exception) -> bool:
    is_outage = isinstance(error, DATABASE_ERRORS) and (is_away(error) or is_full(error) or is_outdated(error))
    if is_outage:
        log.warning("Waiting for the database: %s", error)
    return is_outage

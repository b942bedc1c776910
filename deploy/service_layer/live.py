"""The live channel: read committed events after a cursor and send them to the connected clients.

Each deployment has its own cursor. A notification marks a deployment as changed, and a slow sweep finds changes whose
notification was missed.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial

from deploy.adapters.database import DATABASE_ERRORS
from deploy.adapters.notifications import Listener
from deploy.adapters.repository import CommittedEvents, EventReader, StoredEvent
from deploy.adapters.websocket import Client, Hub
from deploy.domain.model import Lane
from deploy.domain.policy import Action, Target, may
from deploy.domain.rights import EVERYTHING, Visible
from deploy.service_layer.authorization import granted_deployment
from deploy.service_layer.messages import hidden_service_message, service_message
from deploy.service_layer.unit_of_work import OpenUnitOfWork, in_unit_of_work

log = logging.getLogger(__name__)

SWEEP_SECONDS = 2.0
# Seconds to wait before reading events that this process committed from the database, if `send_committed` has not sent
# them.
OWN_EVENT_TIMEOUT = 0.1
BATCH = 200
CATCH_UP_BYTES = 512 * 1024
MAX_CURSORS = 20_000
MAX_OPEN_LINES = 1_000


class LiveFeed:
    """Feeds committed events to the hub of this process."""

    def __init__(self, open_unit_of_work: OpenUnitOfWork, reader: EventReader, hub: Hub, listener: Listener) -> None:
        self._open_unit_of_work = open_unit_of_work
        self._reader = reader
        self._hub = hub
        self._changed: set[int] = set()
        self._services: set[int] = set()
        self._cursors: OrderedDict[int, int] = OrderedDict()
        self._lanes: dict[int, Lane] = {}
        # The last unfinished line of each deployment. It stays after its end; clients ignore it by its number.
        self._open_lines: OrderedDict[int, str] = OrderedDict()
        self._open_changed: set[int] = set()
        self._wake = asyncio.Event()
        self._sweep_due = True
        listener.on("deployment", self._on_deployment, own=self._on_own_deployment)
        listener.on("service", self._on_service)
        listener.on("open_line", self._on_open_line)
        listener.on_connect(self._on_connect)

    async def run(self) -> None:
        """Feed until canceled. Tolerate database outages."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), SWEEP_SECONDS)
            except asyncio.TimeoutError:
                self._sweep_due = True
            self._wake.clear()
            try:
                await self._feed()
            except DATABASE_ERRORS as error:
                log.warning("The live channel is waiting for the database: %s", error)
                self._sweep_due = True
                await asyncio.sleep(0.2)

    async def join(self, client: Client) -> None:
        """Add a client. It receives everything that is committed after this returns."""
        # Keep this order: events committed in between are already offered to the client.
        self._hub.add(client)
        for deployment_id, seq in await self._reader.cursors(visible=client.actor.visible, since_seconds=60):
            client.cursors.setdefault(deployment_id, seq)
            self._cursors.setdefault(deployment_id, seq)

    async def subscribe(self, client: Client, deployment_id: int, after: int) -> None:
        """Send a client every event of a deployment after this one, with its output, if it is allowed to read it.

        Raises:
            NotFound: The deployment does not exist, or the client is not allowed to know that it does.
            Forbidden: The client is not allowed to read it.
        """
        deployment = await in_unit_of_work(
            self._open_unit_of_work,
            partial(granted_deployment, client.actor, Action.READ_DEPLOYMENT, deployment_id),
        )
        client.subscribe(deployment_id, min(after, deployment.seq))

    async def show_rights(self, client: Client, before: Visible) -> None:
        """Tell a client whose rights have changed which services have appeared and disappeared for it."""
        client.put('{"type": "rights"}')
        after = client.actor.visible
        if before == after:
            return
        async with self._open_unit_of_work() as uow:
            services = await uow.services.list(visible=EVERYTHING)
        for service in services:
            if service.id in after and service.id not in before:
                client.put(service_message(service))
            elif service.id in before and service.id not in after:
                client.put(hidden_service_message(service))

    async def catch_up(self, client: Client, deployment_id: int) -> None:
        """Read the events after one client's cursor until the client has caught up or its outbox is full."""
        # The client counts as behind until the end. Otherwise, events offered during this time would arrive before
        # those read here. They are held instead of being read: with many clients that take turns, there would be new
        # ones after each read, and the client would never catch up.
        while client.has_room and deployment_id in client.behind:
            client.begin_read(deployment_id)
            cursor = client.cursors.setdefault(deployment_id, 0)
            with_output = deployment_id in client.subscribed
            # Use small batches, because many clients could be catching up at the same time.
            events = await self._reader.some_after(
                deployment_id,
                cursor,
                visible=client.actor.visible,
                limit=BATCH,
                max_bytes=CATCH_UP_BYTES,
                with_output=with_output,
            )
            if client.cursors[deployment_id] < cursor or (deployment_id in client.subscribed and not with_output):
                continue  # it has subscribed since then, so these events lack the output it now needs
            client.deliver(deployment_id, events)
            is_delivered = not events or client.cursors[deployment_id] >= events[-1].seq
            client.end_read(deployment_id, complete=is_delivered and _is_last(events))
        if deployment_id in client.subscribed and deployment_id not in client.behind:
            await self._send_open_line(deployment_id, [client])

    def send_committed(self, committed: CommittedEvents) -> None:
        """Send events that this process has just committed, without reading them from the database.

        If they do not directly follow the last event that was sent, read all events since then from the database.
        """
        if not len(self._hub) or not committed.events:
            return
        if self._cursors.get(committed.deployment_id, 0) != committed.events[0].seq - 1:
            self._on_deployment(f"{committed.deployment_id} {committed.events[-1].seq}")
            return
        self._lanes[committed.deployment_id] = committed.lane
        self._publish(committed.deployment_id, committed.lane, committed.events, complete=True)
        self._remember(committed.deployment_id, committed.events[-1].seq)

    def _on_deployment(self, text: str) -> None:
        deployment_id, _, seq = text.partition(" ")
        if seq and int(seq) <= self._cursors.get(int(deployment_id), 0):
            return  # already sent
        self._changed.add(int(deployment_id))
        self._wake.set()

    def _on_own_deployment(self, text: str) -> None:
        # The notification can arrive before the committing task calls `send_committed`. Only read the events if that
        # task is interrupted and never calls it.
        asyncio.get_running_loop().call_later(OWN_EVENT_TIMEOUT, self._on_deployment, text)

    def _on_service(self, text: str) -> None:
        self._services.add(int(text))
        self._wake.set()

    def _on_open_line(self, text: str) -> None:
        deployment, _, message = text.partition(" ")
        deployment_id = int(deployment)
        self._open_lines[deployment_id] = message
        self._open_lines.move_to_end(deployment_id)
        if len(self._open_lines) > MAX_OPEN_LINES:
            self._open_lines.popitem(last=False)
        if self._hub.wants_output(deployment_id):
            self._open_changed.add(deployment_id)
            self._wake.set()

    def _on_connect(self) -> None:
        self._sweep_due = True
        self._wake.set()

    async def _feed(self) -> None:
        if self._sweep_due:
            await self._sweep()
            self._sweep_due = False
        while self._changed:
            deployment_id = self._changed.pop()
            try:
                await self._advance(deployment_id)
            except BaseException:
                self._changed.add(deployment_id)
                raise
        if self._services:
            await self._send_services()
        while self._open_changed:
            await self._send_open_line(self._open_changed.pop(), self._hub)

    async def _sweep(self) -> None:
        for deployment_id, seq in await self._reader.cursors(visible=EVERYTHING, since_seconds=60):
            known = self._cursors.get(deployment_id)
            if (known is not None and known < seq) or (known is None and len(self._hub)):
                self._changed.add(deployment_id)

    async def _advance(self, deployment_id: int) -> None:
        if not len(self._hub):
            # No clients are connected. The next client starts from the current state.
            self._cursors.pop(deployment_id, None)
            self._lanes.pop(deployment_id, None)
            return
        cursor = self._cursors.get(deployment_id, 0)
        lane = await self._lane(deployment_id)
        if lane is None:
            return
        while True:
            complete = self._hub.wants_output(deployment_id)
            events = await self._reader.after(
                deployment_id, cursor, visible=EVERYTHING, limit=BATCH, with_output=complete
            )
            if not events:
                break
            self._publish(deployment_id, lane, events, complete=complete)
            cursor = max(events[-1].seq, self._cursors.get(deployment_id, 0))
            self._remember(deployment_id, cursor)
            if len(events) < BATCH:
                break

    def _publish(self, deployment_id: int, lane: Lane, events: Sequence[StoredEvent], *, complete: bool) -> None:
        may_read = partial(may, action=Action.READ_DEPLOYMENT, target=_target(deployment_id, lane))
        self._hub.publish(deployment_id, events, complete=complete, may_read=may_read)

    async def _send_open_line(self, deployment_id: int, clients: Iterable[Client]) -> None:
        """Send the last unfinished line to the clients that follow the deployment and have caught up with it."""
        message = self._open_lines.get(deployment_id)
        lane = None if message is None else await self._lane(deployment_id)
        if message is None or lane is None:
            return
        target = _target(deployment_id, lane)
        for client in clients:
            follows = deployment_id in client.subscribed and deployment_id not in client.behind
            if follows and client.has_room and may(client.actor, action=Action.READ_DEPLOYMENT, target=target):
                client.put(message)

    def _remember(self, deployment_id: int, cursor: int) -> None:
        self._cursors[deployment_id] = cursor
        self._cursors.move_to_end(deployment_id)
        if len(self._cursors) > MAX_CURSORS:
            forgotten, _ = self._cursors.popitem(last=False)
            self._lanes.pop(forgotten, None)

    async def _lane(self, deployment_id: int) -> Lane | None:
        if deployment_id not in self._lanes:
            lane = await self._reader.lane_of(deployment_id)
            if lane is None:
                return None  # deleted in the meantime
            self._lanes[deployment_id] = lane
        return self._lanes[deployment_id]

    async def _send_services(self) -> None:
        ids = list(self._services)
        async with self._open_unit_of_work() as uow:
            services = await uow.services.some(ids, visible=EVERYTHING)
        self._services.difference_update(ids)
        for service in services:
            target = Target(name="Service", service_id=service.id)
            may_read = partial(may, action=Action.READ_SERVICES, target=target)
            self._hub.broadcast(service_message(service), may_read=may_read)


def _is_last(events: Sequence[StoredEvent]) -> bool:
    """Return True if there were no more events when these were read: neither of the limits was reached."""
    # A character has up to four bytes.
    return len(events) < BATCH and 4 * sum(len(event.message) for event in events) < CATCH_UP_BYTES


def _target(deployment_id: int, lane: Lane) -> Target:
    return Target(
        name="Deployment", service_id=lane.service_id, environment=lane.environment, deployment_id=deployment_id
    )


def warning(detail: str, code: str) -> str:
    """Return a warning message for a client, as JSON."""
    return json.dumps({"type": "warning", "detail": detail, "code": code})

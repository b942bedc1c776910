"""Keep track of connected clients and distribute messages to them.

Each client has a bounded outbox and, for each deployment, a cursor: the `seq` of the last message put into the outbox.
Messages that do not fit are dropped, and the deployment is then *behind* for this client. Once there is room, its
messages after the cursor are read again from the database (`Client.behind`). A slow client never loses messages and
never blocks other clients.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from sys import getsizeof
from typing import Protocol

from deploy.domain.policy import Actor

OUTBOX_MESSAGES = 2_000
OUTBOX_BYTES = 1024 * 1024
# Characters of events that are held for a client while its earlier events are read.
HELD_CHARACTERS = 64 * 1024


class NumberedMessage(Protocol):
    """A message from a deployment's event log. `last_line` is None if the message does not contain output."""

    @property
    def seq(self) -> int: ...
    @property
    def last_line(self) -> int | None: ...
    @property
    def message(self) -> str: ...


class Client:
    """One connection, signed in as `actor`."""

    def __init__(self, actor: Actor, token: str) -> None:
        self.actor = actor
        self.token = token
        self.cursors: dict[int, int] = {}
        self.subscribed: set[int] = set()
        self.behind: set[int] = set()
        self.missed: set[int] = set()  # behind, with new events since the last read that are not held
        self._held: dict[int, list[tuple[Sequence[NumberedMessage], bool]]] = {}  # offered while events are read
        self.wake = asyncio.Event()
        self.rights_changed = asyncio.Event()
        self._outbox: deque[str] = deque()
        self._bytes = 0

    @property
    def has_room(self) -> bool:
        """Return True if the outbox has room for another message."""
        return len(self._outbox) < OUTBOX_MESSAGES and self._bytes < OUTBOX_BYTES

    @property
    def is_empty(self) -> bool:
        """Return True if no messages are waiting to be sent."""
        return not self._outbox

    def put(self, message: str) -> None:
        """Add a message to the outbox."""
        self._outbox.append(message)
        self._bytes += getsizeof(message)
        self.wake.set()

    def take(self) -> str | None:
        """Remove and return the oldest message, or None."""
        if not self._outbox:
            return None
        message = self._outbox.popleft()
        # A string grows when Python caches its UTF-8. Resetting the size when the outbox is empty corrects the drift.
        self._bytes = self._bytes - getsizeof(message) if self._outbox else 0
        return message

    def subscribe(self, deployment_id: int, after: int) -> None:
        """Subscribe to all events of a deployment that follow `after`, including output."""
        self.subscribed.add(deployment_id)
        self.cursors[deployment_id] = after
        self.behind.add(deployment_id)
        self.wake.set()

    def unsubscribe(self, deployment_id: int) -> None:
        """Stop sending output. State changes are still sent."""
        self.subscribed.discard(deployment_id)

    def offer(self, deployment_id: int, events: Sequence[NumberedMessage], *, complete: bool) -> None:
        """Offer consecutive events of a deployment, and skip events that were already delivered.

        `complete` means that the events include output. A gap or a full outbox puts the deployment behind.
        """
        if deployment_id in self.behind:
            self._hold(deployment_id, events, complete=complete)
            return
        cursor = self.cursors.setdefault(deployment_id, events[0].seq - 1)
        wants_output = deployment_id in self.subscribed
        if (complete and events[0].seq > cursor + 1) or (wants_output and not complete):
            self._fall_behind(deployment_id)
            return
        self.deliver(deployment_id, events)

    def begin_read(self, deployment_id: int) -> None:
        """Hold the events that are offered from now on, while earlier ones are read from the database."""
        self.missed.discard(deployment_id)
        self._held[deployment_id] = []

    def end_read(self, deployment_id: int, *, complete: bool) -> None:
        """Offer the held events.

        `complete` means that all events before them have been delivered. The deployment is then no longer behind,
        unless events were offered that could not be held.
        """
        held = self._held.pop(deployment_id, [])
        if not complete or deployment_id in self.missed:
            if held:
                self.missed.add(deployment_id)
            return
        self.behind.discard(deployment_id)
        for events, is_complete in held:
            self.offer(deployment_id, events, complete=is_complete)

    def _hold(self, deployment_id: int, events: Sequence[NumberedMessage], *, complete: bool) -> None:
        held = self._held.get(deployment_id)
        if held is not None and deployment_id not in self.missed:
            size = sum(len(event.message) for some, _ in [*held, (events, complete)] for event in some)
            if size <= HELD_CHARACTERS:
                held.append((events, complete))
                return
        self.missed.add(deployment_id)

    def deliver(self, deployment_id: int, events: Iterable[NumberedMessage]) -> None:
        """Add the events after the cursor to the outbox while there is room."""
        wants_output = deployment_id in self.subscribed
        for event in events:
            if event.seq <= self.cursors[deployment_id]:
                continue
            if not self.has_room:
                self._fall_behind(deployment_id)
                return
            self.cursors[deployment_id] = event.seq
            if wants_output or event.last_line is None:
                self.put(event.message)

    def _fall_behind(self, deployment_id: int) -> None:
        self.behind.add(deployment_id)
        self.wake.set()


class Hub:
    """All clients of this process."""

    def __init__(self) -> None:
        self._clients: set[Client] = set()

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._clients))

    def add(self, client: Client) -> None:
        """Add a client."""
        self._clients.add(client)

    def remove(self, client: Client) -> None:
        """Remove a client."""
        self._clients.discard(client)

    def rights_changed(self, user_id: int | None = None) -> None:
        """Have clients recheck their rights: the clients of one user, or all clients if `user_id` is None."""
        for client in self._clients:
            if user_id is None or client.actor.user_id == user_id:
                client.rights_changed.set()

    def wants_output(self, deployment_id: int) -> bool:
        """Return True if any client is subscribed to the output of this deployment."""
        return any(deployment_id in client.subscribed for client in self._clients)

    def publish(
        self,
        deployment_id: int,
        events: Sequence[NumberedMessage],
        *,
        complete: bool,
        may_read: Callable[[Actor], bool],
    ) -> None:
        """Offer events of a deployment to every client that is allowed to read it."""
        for client in self._clients:
            if may_read(client.actor):
                client.offer(deployment_id, events, complete=complete)

    def broadcast(self, message: str, *, may_read: Callable[[Actor], bool]) -> None:
        """Send a message that does not belong to a deployment. Clients without room do not receive it."""
        for client in self._clients:
            if may_read(client.actor) and client.has_room:
                client.put(message)

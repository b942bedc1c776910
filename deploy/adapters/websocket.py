"""Connected clients and the fan-out to them.

Each client has a bounded outbox and, per deployment, a cursor: the `seq` of the last message put into it. What does
not fit is not kept: the deployment counts as *behind* for this client, and is read again after the cursor once there
is room (`Client.behind`). So a slow client loses nothing, costs little, and makes nobody wait.
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


class NumberedMessage(Protocol):
    """A message of a deployment's event log; output has the number of its last line."""

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
        self.missed: set[int] = set()  # of those behind: there is news since it was read last
        self.wake = asyncio.Event()
        self.rights_changed = asyncio.Event()
        self._outbox: deque[str] = deque()
        self._bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether more may be put into the outbox."""
        return len(self._outbox) < OUTBOX_MESSAGES and self._bytes < OUTBOX_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._outbox

    def put(self, message: str) -> None:
        """Put a message into the outbox."""
        self._outbox.append(message)
        self._bytes += getsizeof(message)
        self.wake.set()

    def take(self) -> str | None:
        """Take the oldest message out of the outbox."""
        if not self._outbox:
            return None
        message = self._outbox.popleft()
        # A string grows when its UTF-8 is cached; an empty outbox ends the difference.
        self._bytes = self._bytes - getsizeof(message) if self._outbox else 0
        return message

    def subscribe(self, deployment_id: int, after: int) -> None:
        """From now on this client gets everything of a deployment that came after `after`, output too."""
        self.subscribed.add(deployment_id)
        self.cursors[deployment_id] = after
        self.behind.add(deployment_id)
        self.wake.set()

    def unsubscribe(self, deployment_id: int) -> None:
        """Back to changes of state only."""
        self.subscribed.discard(deployment_id)

    def offer(self, deployment_id: int, events: Sequence[NumberedMessage], *, complete: bool) -> None:
        """Offer consecutive events of a deployment; those that are known are passed over.

        `complete`: output is among them. A gap, or no room, puts the deployment behind.
        """
        if deployment_id in self.behind:
            self.missed.add(deployment_id)
            return
        cursor = self.cursors.setdefault(deployment_id, events[0].seq - 1)
        wants_output = deployment_id in self.subscribed
        if (complete and events[0].seq > cursor + 1) or (wants_output and not complete):
            self._fall_behind(deployment_id)
            return
        self.deliver(deployment_id, events)

    def deliver(self, deployment_id: int, events: Iterable[NumberedMessage]) -> None:
        """Put those events after the cursor into the outbox, as long as there is room."""
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
        """Count a client in."""
        self._clients.add(client)

    def remove(self, client: Client) -> None:
        """Count a client out."""
        self._clients.discard(client)

    def rights_changed(self, user_id: int | None = None) -> None:
        """A user's rights have changed, or anybody's: they have to be looked at again."""
        for client in self._clients:
            if user_id is None or client.actor.user_id == user_id:
                client.rights_changed.set()

    def wants_output(self, deployment_id: int) -> bool:
        """Whether anybody follows the output of this deployment."""
        return any(deployment_id in client.subscribed for client in self._clients)

    def publish(
        self,
        deployment_id: int,
        events: Sequence[NumberedMessage],
        *,
        complete: bool,
        may_read: Callable[[Actor], bool],
    ) -> None:
        """Offer events of a deployment to every client who may read it."""
        for client in self._clients:
            if may_read(client.actor):
                client.offer(deployment_id, events, complete=complete)

    def broadcast(self, message: str, *, may_read: Callable[[Actor], bool]) -> None:
        """Send a message that belongs to no deployment; a client without room does not get it."""
        for client in self._clients:
            if may_read(client.actor) and client.has_room:
                client.put(message)

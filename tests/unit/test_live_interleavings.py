"""Test the live channel with events in any order: publishing, catching up, subscribing, and sending, step by step.

The log stands in for the database; everything else is real. Each of the feed's coroutines stops wherever it waits for
the database, and Hypothesis decides which one continues.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deploy.adapters import websocket
from deploy.adapters.notifications import Listener
from deploy.adapters.repository import CommittedEvents, EventReader, StoredEvent
from deploy.adapters.websocket import Client, Hub
from deploy.domain.model import Lane
from deploy.domain.policy import Actor, TokenType
from deploy.domain.rights import ALL_RIGHTS, EVERYTHING, Visible
from deploy.service_layer import live
from deploy.service_layer.live import LiveFeed
from deploy.service_layer.unit_of_work import UnitOfWork

DEPLOYMENT, SERVICE = 7, 3
ROOM, BATCH = 4, 3


class Pause:
    """An awaitable that suspends a coroutine until its next step."""

    def __await__(self) -> Generator[None, None, None]:
        """Suspend once."""
        yield


class Log:
    """The events of one deployment, read the way the repository reads them."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []

    def append(self, *, is_output: bool) -> None:
        """Add an event: output or a state change."""
        seq = len(self.events) + 1
        kind = "output" if is_output else "state"
        message = json.dumps({"seq": seq, "kind": kind})
        self.events.append(StoredEvent(seq, seq if is_output else None, message))

    async def after(
        self, _deployment_id: int, seq: int, *, visible: Visible, limit: int = 500, with_output: bool = True
    ) -> list[StoredEvent]:
        """Return the events at this moment. The response takes one step."""
        assert visible == EVERYTHING
        found = [event for event in self.events[seq:] if with_output or event.last_line is None][:limit]
        await Pause()
        return found

    async def some_after(
        self, deployment_id: int, seq: int, *, visible: Visible, limit: int, max_bytes: int, with_output: bool
    ) -> list[StoredEvent]:
        """Return some of the events."""
        assert max_bytes > 0
        return await self.after(deployment_id, seq, visible=visible, limit=limit, with_output=with_output)

    async def lane_of(self, deployment_id: int) -> Lane:
        """Return the service of the deployment. The response takes one step."""
        assert deployment_id == DEPLOYMENT
        await Pause()
        return Lane(SERVICE)

    async def cursors(self, *, visible: Visible, since_seconds: float) -> list[tuple[int, int]]:
        """Return the deployment's position at this moment. The response takes one step."""
        assert since_seconds > 0
        assert visible == EVERYTHING
        found = [(DEPLOYMENT, len(self.events))]
        await Pause()
        return found


def no_unit_of_work() -> AbstractAsyncContextManager[UnitOfWork]:
    """Fail: the feed reads services in a unit of work, and this test does not have any."""
    raise AssertionError


class Reader:
    """A client of the WebSocket with the tasks that serve it."""

    def __init__(self, feed: LiveFeed) -> None:
        self.client = Client(Actor(kind=TokenType.USER, expires=0, rights=ALL_RIGHTS), "token")
        self.received: list[dict[str, Any]] = []
        self._feed = feed
        self._task: Coroutine[Any, Any, None] | None = feed.join(self.client)
        # The position at which it subscribed, and how much it had received by then.
        self.since, self.first = 0, 0
        self.is_in = False

    @property
    def is_subscribed(self) -> bool:
        return DEPLOYMENT in self.client.subscribed

    def subscribe(self, after: int) -> None:
        """Subscribe as if everything up to `after` had already been received."""
        self.take()
        self.since, self.first = after, len(self.received)
        self.client.subscribe(DEPLOYMENT, after)

    def unsubscribe(self) -> None:
        """Unsubscribe from the output."""
        self.take()
        self.since, self.first = self.client.cursors[DEPLOYMENT], len(self.received)
        self.client.unsubscribe(DEPLOYMENT)

    def take(self, limit: int = 1_000) -> None:
        """Send some messages from the outbox."""
        while limit > 0 and (message := self.client.take()) is not None:
            self.received.append(json.loads(message))
            limit -= 1

    def step(self, now: int) -> None:
        """Run one step of the serving task: join or catch up. `now` is the deployment's position."""
        if self._task is None:
            # The sending task catches up once the outbox is empty.
            if not self.client.behind or not self.client.is_empty:
                return
            self._task = self._feed.catch_up(self.client, DEPLOYMENT)
        try:
            self._task.send(None)
        except StopIteration:
            self._task = None
            if not self.is_in:
                self.is_in, self.since = True, now

    def stop(self) -> None:
        """Stop in the middle."""
        if self._task is not None:
            self._task.close()

    def seqs(self) -> list[int]:
        """Return the numbers received since the last subscription, if any."""
        return [message["seq"] for message in self.received[self.first :]]


class LiveChannel(RuleBasedStateMachine):
    """A running deployment, a feed that publishes it, and readers that join, subscribe, and are slow."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.hub = Hub()
        self.feed = LiveFeed(
            no_unit_of_work, cast("EventReader", self.log), self.hub, Listener("postgresql://nowhere/nothing")
        )
        self.readers: list[Reader] = []
        # Committed by this process and not forwarded yet.
        self.news: list[CommittedEvents] = []
        self._advancing: Coroutine[Any, Any, None] | None = None

    @initialize(past=st.lists(st.booleans(), max_size=6), share=st.floats(0, 1), joined=st.integers(0, 2))
    def begin(self, past: list[bool], share: float, joined: int) -> None:
        for is_output in past:
            self.log.append(is_output=is_output)
        self.feed._cursors[DEPLOYMENT] = int(share * len(past))
        self.readers = [Reader(self.feed) for _ in range(2)]
        for reader in self.readers[:joined]:
            while not reader.is_in:
                reader.step(len(past))

    @rule(kinds=st.lists(st.booleans(), min_size=1, max_size=3), published=st.booleans())
    def other_process_commits(self, kinds: list[bool], published: bool) -> None:
        for is_output in kinds:
            self.log.append(is_output=is_output)
        if published:
            # A response in progress can be older. The next one includes everything.
            for _ in range(2):
                self._advance()
                while self._is_advancing():
                    self._advance()

    @rule(kinds=st.lists(st.booleans(), min_size=1, max_size=3))
    def this_process_commits(self, kinds: list[bool]) -> None:
        before = len(self.log.events)
        for is_output in kinds:
            self.log.append(is_output=is_output)
        self.news.append(CommittedEvents(DEPLOYMENT, Lane(SERVICE), self.log.events[before:]))

    @precondition(lambda self: self.news)
    @rule(data=st.data(), kept=st.booleans())
    def this_process_forwards(self, data: st.DataObject, kept: bool) -> None:
        """Forward committed events in any order, some of them twice."""
        which = data.draw(st.integers(0, len(self.news) - 1))
        self.feed.send_committed(self.news[which] if kept else self.news.pop(which))

    @rule(steps=st.integers(1, 3))
    def the_feed_continues(self, steps: int = 1) -> None:
        for _ in range(steps):
            self._advance()

    def _is_advancing(self) -> bool:
        return self._advancing is not None

    def _advance(self) -> None:
        if self._advancing is None:
            self._advancing = self.feed._advance(DEPLOYMENT)
        try:
            self._advancing.send(None)
        except StopIteration:
            self._advancing = None

    @rule(reader=st.integers(0, 1), steps=st.sampled_from([1, 1, 1, 2, 3]), limit=st.integers(0, 4))
    def a_reader_continues(self, reader: int, steps: int, limit: int) -> None:
        if self.readers[reader].is_in:
            self.readers[reader].take(limit)
        for _ in range(steps):
            self.readers[reader].step(len(self.log.events))

    @rule(reader=st.integers(0, 1), share=st.sampled_from([0.0, 0.5, 1.0, 1.0]))
    def a_reader_subscribes(self, reader: int, share: float) -> None:
        if self.readers[reader].is_in:
            self.readers[reader].subscribe(int(share * len(self.log.events)))

    @precondition(lambda self: self.readers and self.readers[0].is_subscribed)
    @rule()
    def a_reader_unsubscribes(self) -> None:
        self.readers[0].unsubscribe()

    @invariant()
    def subscribers_have_everything_once_in_order(self) -> None:
        for reader in self.readers:
            if reader.is_subscribed:
                seqs = reader.seqs()
                assert seqs == list(range(reader.since + 1, reader.since + 1 + len(seqs)))

    @invariant()
    def others_have_no_output_and_nothing_twice(self) -> None:
        for reader in self.readers:
            if not reader.is_subscribed:
                new = reader.received[reader.first :]
                assert all(message["kind"] == "state" for message in new)
                assert all(earlier < later for earlier, later in pairwise(reader.seqs()))

    @invariant()
    def outboxes_are_bounded(self) -> None:
        for reader in self.readers:
            assert len(reader.client._outbox) <= ROOM

    def teardown(self) -> None:
        """At the end, check that every reader has received everything it should have."""
        for _ in range(10 * len(self.log.events) + 50):
            self.the_feed_continues()
            for reader in self.readers:
                reader.step(len(self.log.events))
                reader.take()
        if self._advancing is not None:
            self._advancing.close()
        states = [event.seq for event in self.log.events if event.last_line is None]
        for reader in self.readers:
            reader.stop()
            if reader.is_subscribed:
                assert reader.seqs() == list(range(reader.since + 1, len(self.log.events) + 1))
            else:
                # It might have received some of the events that arrived while it was joining.
                seqs = [seq for seq in reader.seqs() if seq > reader.since]
                assert seqs == [seq for seq in states if seq > reader.since]


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "OUTBOX_MESSAGES", ROOM)
    monkeypatch.setattr(live, "BATCH", BATCH)


LiveChannel.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestLiveChannel = LiveChannel.TestCase


def test_a_client_catches_up_although_new_events_arrive_during_each_read() -> None:
    log, hub = Log(), Hub()
    feed = LiveFeed(no_unit_of_work, cast("EventReader", log), hub, Listener("postgresql://nowhere/nothing"))
    reader = Reader(feed)
    while not reader.is_in:
        reader.step(0)
    reader.subscribe(0)
    for seq in range(3):
        reader.step(seq)
        log.append(is_output=True)
        feed.send_committed(CommittedEvents(DEPLOYMENT, Lane(SERVICE), log.events[seq:]))
    reader.take()
    assert (reader.client.behind, reader.seqs()) == (set(), [1, 2, 3])

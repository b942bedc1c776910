"""The live channel in any order of events: publishing, reading on, subscribing and sending, step by step.

The log stands in for the database; everything else is the real thing. Each of the feed's coroutines stops where it
waits for the database, and Hypothesis decides who goes on.
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
from deploy.domain.policy import EVERYTHING, Actor, TokenType
from deploy.service_layer import live
from deploy.service_layer.live import LiveFeed
from deploy.service_layer.unit_of_work import UnitOfWork

DEPLOYMENT, SERVICE = 7, 3
ROOM, BATCH = 4, 3


class Pause:
    """What a coroutine waits for until it is sent on."""

    def __await__(self) -> Generator[None, None, None]:
        """Stop once."""
        yield


class Log:
    """The events of one deployment, read as the repository reads them."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []

    def append(self, *, is_output: bool) -> None:
        """Add an event: output, or a change of state."""
        seq = len(self.events) + 1
        kind = "output" if is_output else "state"
        message = json.dumps({"seq": seq, "kind": kind})
        self.events.append(StoredEvent(seq, seq if is_output else None, message))

    async def after(
        self, _deployment_id: int, seq: int, *, limit: int = 500, with_output: bool = True
    ) -> list[StoredEvent]:
        """Return what there is at this moment; the answer takes a while."""
        found = [event for event in self.events[seq:] if with_output or event.last_line is None][:limit]
        await Pause()
        return found

    async def some_after(
        self, deployment_id: int, seq: int, *, limit: int, max_bytes: int, with_output: bool
    ) -> list[StoredEvent]:
        """Return some of what there is."""
        assert max_bytes > 0
        return await self.after(deployment_id, seq, limit=limit, with_output=with_output)

    async def service_of(self, deployment_id: int) -> int:
        """Return whose deployment it is; the answer takes a while."""
        assert deployment_id == DEPLOYMENT
        await Pause()
        return SERVICE

    async def cursors(self, *, since_seconds: float) -> list[tuple[int, int]]:
        """Return how far the deployment is at this moment; the answer takes a while."""
        assert since_seconds > 0
        found = [(DEPLOYMENT, len(self.events))]
        await Pause()
        return found


def nobody_writes() -> AbstractAsyncContextManager[UnitOfWork]:
    """The feed reads services in a unit of work; there are none here."""
    raise AssertionError


class Reader:
    """A client of the WebSocket with the tasks that serve it."""

    def __init__(self, feed: LiveFeed) -> None:
        self.client = Client(Actor(kind=TokenType.USER, expires=0, visible=EVERYTHING), "token")
        self.received: list[dict[str, Any]] = []
        self._feed = feed
        self._task: Coroutine[Any, Any, None] | None = feed.join(self.client)
        # What he has by his own account, and how much he had received when he said so.
        self.since, self.first = 0, 0
        self.is_in = False

    @property
    def is_subscribed(self) -> bool:
        return DEPLOYMENT in self.client.subscribed

    def subscribe(self, after: int) -> None:
        """Subscribe, as one who has everything up to `after`."""
        self.take()
        self.since, self.first = after, len(self.received)
        self.client.subscribe(DEPLOYMENT, after)

    def unsubscribe(self) -> None:
        """Lose interest in the output."""
        self.take()
        self.since, self.first = self.client.cursors[DEPLOYMENT], len(self.received)
        self.client.unsubscribe(DEPLOYMENT)

    def take(self, limit: int = 1_000) -> None:
        """Send some of what is in the outbox."""
        while limit > 0 and (message := self.client.take()) is not None:
            self.received.append(json.loads(message))
            limit -= 1

    def go_on(self, now: int) -> None:
        """Do one step of what serves him: join, or read on; `now` is how far the deployment is."""
        if self._task is None:
            # The sending task reads on when everything is sent.
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
        """Leave off in the middle."""
        if self._task is not None:
            self._task.close()

    def seqs(self) -> list[int]:
        """Return the numbers of what was received since the last subscription, if any."""
        return [message["seq"] for message in self.received[self.first :]]


class LiveChannel(RuleBasedStateMachine):
    """A deployment that goes on, a feed that publishes it, and readers that come, subscribe and are slow."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.hub = Hub()
        self.feed = LiveFeed(
            nobody_writes, cast("EventReader", self.log), self.hub, Listener("postgresql://nowhere/nothing")
        )
        self.readers: list[Reader] = []
        # Committed by this process, and not yet told.
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
                reader.go_on(len(past))

    @rule(kinds=st.lists(st.booleans(), min_size=1, max_size=3), published=st.booleans())
    def something_happens(self, kinds: list[bool], published: bool) -> None:
        for is_output in kinds:
            self.log.append(is_output=is_output)
        if published:
            # What is on its way may be older; the next one knows all.
            for _ in range(2):
                self._advance()
                while self._is_advancing():
                    self._advance()

    @rule(kinds=st.lists(st.booleans(), min_size=1, max_size=3))
    def this_process_commits(self, kinds: list[bool]) -> None:
        before = len(self.log.events)
        for is_output in kinds:
            self.log.append(is_output=is_output)
        self.news.append(CommittedEvents(DEPLOYMENT, SERVICE, self.log.events[before:]))

    @precondition(lambda self: self.news)
    @rule(data=st.data(), kept=st.booleans())
    def it_tells(self, data: st.DataObject, kept: bool) -> None:
        """Of what it has committed, in any order, some of it twice."""
        which = data.draw(st.integers(0, len(self.news) - 1))
        self.feed.tell(self.news[which] if kept else self.news.pop(which))

    @rule(steps=st.integers(1, 3))
    def the_feed_goes_on(self, steps: int = 1) -> None:
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
    def a_reader_goes_on(self, reader: int, steps: int, limit: int) -> None:
        if self.readers[reader].is_in:
            self.readers[reader].take(limit)
        for _ in range(steps):
            self.readers[reader].go_on(len(self.log.events))

    @rule(reader=st.integers(0, 1), share=st.sampled_from([0.0, 0.5, 1.0, 1.0]))
    def a_reader_subscribes(self, reader: int, share: float) -> None:
        if self.readers[reader].is_in:
            self.readers[reader].subscribe(int(share * len(self.log.events)))

    @precondition(lambda self: self.readers and self.readers[0].is_subscribed)
    @rule()
    def a_reader_loses_interest(self) -> None:
        self.readers[0].unsubscribe()

    @invariant()
    def a_subscriber_has_everything_once_and_in_order(self) -> None:
        for reader in self.readers:
            if reader.is_subscribed:
                seqs = reader.seqs()
                assert seqs == list(range(reader.since + 1, reader.since + 1 + len(seqs)))

    @invariant()
    def the_others_have_no_output_and_nothing_twice(self) -> None:
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
        """In the end everybody has what he should have: nothing is left behind."""
        for _ in range(10 * len(self.log.events) + 50):
            self.the_feed_goes_on()
            for reader in self.readers:
                reader.go_on(len(self.log.events))
                reader.take()
        if self._advancing is not None:
            self._advancing.close()
        states = [event.seq for event in self.log.events if event.last_line is None]
        for reader in self.readers:
            reader.stop()
            if reader.is_subscribed:
                assert reader.seqs() == list(range(reader.since + 1, len(self.log.events) + 1))
            else:
                # What came while he joined, he may have or not.
                seqs = [seq for seq in reader.seqs() if seq > reader.since]
                assert seqs == [seq for seq in states if seq > reader.since]


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "OUTBOX_MESSAGES", ROOM)
    monkeypatch.setattr(live, "BATCH", BATCH)


LiveChannel.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestLiveChannel = LiveChannel.TestCase

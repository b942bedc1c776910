"""Run the live channel on real rows: woken by NOTIFY, polling for missed notifications, and waiting during outages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from deploy.adapters import websocket
from deploy.adapters.database import Database
from deploy.adapters.notifications import Listener
from deploy.adapters.repository import Change, StoredEvent, Version
from deploy.adapters.websocket import Client, Hub
from deploy.domain.commands import CancelDeployment, ChangeUser, DeleteService
from deploy.domain.policy import WORKER, Actor, TokenType
from deploy.domain.rights import ALL_RIGHTS, EVERYTHING
from deploy.service_layer import live
from deploy.service_layer.ingest import follow as follower
from deploy.service_layer.live import LiveFeed
from deploy.service_layer.sharing import SharedEventReader, Turns
from tests.databases import Databases
from tests.rights import of_service
from tests.runs import ended, line, reported
from tests.site import Site

TIMEOUT = 60.0
USER = Actor(kind=TokenType.USER, expires=0, name="ada", user_id=1, rights=ALL_RIGHTS)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition. Fail after TIMEOUT."""

    async def look() -> None:
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)

    await asyncio.wait_for(look(), TIMEOUT)


class Viewer:
    """A client that reads everything immediately, as it would over a fast connection."""

    def __init__(self, feed: LiveFeed, actor: Actor = USER) -> None:
        self.client = Client(actor, "token")
        self.messages: list[dict[str, Any]] = []
        self._feed = feed

    async def watch(self) -> None:
        """Act as the sending task of the WebSocket until canceled."""
        await self._feed.join(self.client)
        while True:
            while (message := self.client.take()) is not None:
                self.messages.append(json.loads(message))
            if self.client.behind:
                await follower.persistently(lambda: self._feed.catch_up(self.client, min(self.client.behind)))
                continue
            self.client.wake.clear()
            if self.client.is_empty and not self.client.behind:
                await self.client.wake.wait()

    def of(self, deployment_id: int) -> list[dict[str, Any]]:
        """Return the messages about a deployment."""
        return [message for message in self.messages if message.get("deployment_id") == deployment_id]

    def seqs(self, deployment_id: int) -> list[int]:
        """Return the numbers of these messages."""
        return [message["seq"] for message in self.of(deployment_id)]


class CountedTail(SharedEventReader):
    """Counts how often events are read."""

    reads = 0

    async def after(self, *arguments: Any, **options: Any) -> list[StoredEvent]:
        """Read, and count."""
        self.reads += 1
        return await super().after(*arguments, **options)

    async def some_after(self, *arguments: Any, **options: Any) -> list[StoredEvent]:
        """Read, and count."""
        self.reads += 1
        return await super().some_after(*arguments, **options)


class Channel:
    """The listener, the feed, and the hub of one server process.

    It is either a separate process from the site's, or the process whose own commits `is_own` recognizes.
    """

    def __init__(self, site: Site, url: str, *, is_own: Callable[[int], bool] = lambda _pid: False) -> None:
        self.site = site
        self.hub = Hub()
        self.listener = Listener(url, is_own=is_own)
        self.database = Database(url)
        self.tail = CountedTail(self.database, Turns(0))
        self.feed = LiveFeed(site.open_uow, self.tail, self.hub, self.listener)
        self._tasks: list[asyncio.Task[None]] = []

    async def listen(self) -> None:
        """Start listening, and wait until it works."""
        self._tasks.append(asyncio.create_task(self.listener.run()))
        await asyncio.wait_for(self.listener.connected.wait(), TIMEOUT)

    def run(self) -> None:
        """Start the feed."""
        self._tasks.append(asyncio.create_task(self.feed.run()))

    async def viewer(self, actor: Actor = USER) -> Viewer:
        """Return a viewer who has joined."""
        viewer = Viewer(self.feed, actor)
        self._tasks.append(asyncio.create_task(viewer.watch()))
        await until(lambda: viewer.client in list(self.hub))
        return viewer

    async def stop(self) -> None:
        """Stop all tasks. A task that ended earlier has failed."""
        failed = [task for task in self._tasks if task.done()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.database.close()
        assert not failed, failed


@pytest_asyncio.fixture(loop_scope="session")
async def idle(busy_site: Site, database_url: str) -> AsyncIterator[Channel]:
    """Yield a channel without notifications whose feed does not run. It only forwards what the test passes to it."""
    channel = Channel(busy_site, database_url)
    yield channel
    await channel.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def silent(busy_site: Site, database_url: str) -> AsyncIterator[Channel]:
    """Yield a channel without notifications, with the feed running."""
    channel = Channel(busy_site, database_url)
    channel.run()
    yield channel
    await channel.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def channel(busy_site: Site, database_url: str) -> AsyncIterator[Channel]:
    """Yield a channel that listens, with the feed running."""
    channel = Channel(busy_site, database_url)
    await channel.listen()
    channel.run()
    yield channel
    await channel.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def own_channel(busy_site: Site, database: Database, database_url: str) -> AsyncIterator[Channel]:
    """Yield the channel of the process that commits."""
    channel = Channel(busy_site, database_url, is_own=database.owns)
    await channel.listen()
    channel.run()
    yield channel
    await channel.stop()


async def last_seen(viewer: Viewer, site: Site, deployment_id: int) -> int:
    """Wait until the viewer has received all stored events. Return the number of the last one."""
    last = (await site.deployment(deployment_id)).seq
    await until(lambda: viewer.seqs(deployment_id)[-1:] == [last])
    return last


class TestOwnCommits:
    @pytest.fixture(autouse=True)
    def no_sweep(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Disable polling."""
        monkeypatch.setattr(live, "SWEEP_SECONDS", 10_000.0)

    async def test_own_commits_are_forwarded_without_reading(
        self, own_channel: Channel, busy_site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live, "OWN_EVENT_TIMEOUT", 10_000.0)
        busy_site.bus.on_committed(own_channel.feed.send_committed)
        viewer = await own_channel.viewer()
        deployment_id = await busy_site.succeeded()
        last = await last_seen(viewer, busy_site, deployment_id)
        assert viewer.seqs(deployment_id) == list(range(1, last + 1))
        assert own_channel.tail.reads == 0

    async def test_own_commits_that_were_not_forwarded_are_read(
        self, own_channel: Channel, busy_site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The process was interrupted after the commit, before it could forward the events."""
        monkeypatch.setattr(live, "OWN_EVENT_TIMEOUT", 0.01)
        viewer = await own_channel.viewer()
        deployment_id = await busy_site.succeeded()
        await last_seen(viewer, busy_site, deployment_id)
        assert own_channel.tail.reads > 0

    async def test_commits_out_of_order_are_read_immediately(
        self, own_channel: Channel, busy_site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live, "OWN_EVENT_TIMEOUT", 10_000.0)
        viewer = await own_channel.viewer()
        deployment_id = await busy_site.running()
        busy_site.bus.on_committed(own_channel.feed.send_committed)
        await busy_site.take_in(deployment_id, ended(0))
        last = await last_seen(viewer, busy_site, deployment_id)
        assert viewer.seqs(deployment_id) == list(range(1, last + 1))

    async def test_commits_of_other_processes_are_read(
        self, own_channel: Channel, busy_site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live, "OWN_EVENT_TIMEOUT", 10_000.0)
        viewer = await own_channel.viewer()
        async with own_channel.database.connection() as elsewhere:
            deployment_id = await busy_site.running()
            await elsewhere.execute("SELECT pg_notify('fastdeploy', $1)", f"deployment {deployment_id}")
        await last_seen(viewer, busy_site, deployment_id)


class TestNotifications:
    @pytest.fixture(autouse=True)
    def no_sweep(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Disable polling."""
        monkeypatch.setattr(live, "SWEEP_SECONDS", 10_000.0)

    async def test_every_state_change_arrives_in_order(self, channel: Channel, busy_site: Site) -> None:
        viewer = await channel.viewer()
        deployment_id = await busy_site.running(steps=("A", "B"))
        await busy_site.take_in(deployment_id, line(), reported("A"), line(), ended(0))
        last = (await busy_site.deployment(deployment_id)).seq
        await until(lambda: viewer.seqs(deployment_id)[-1:] == [last])
        stored = await busy_site.messages(deployment_id)
        assert viewer.of(deployment_id) == [message for message in stored if message["type"] != "output"]

    async def test_a_subscriber_gets_everything_from_its_position(self, channel: Channel, busy_site: Site) -> None:
        deployment_id = await busy_site.running()
        await busy_site.take_in(deployment_id, *(line(f"early {n}") for n in range(700)))
        viewer = await channel.viewer()
        viewer.client.subscribe(deployment_id, 2)
        await until(lambda: viewer.seqs(deployment_id)[-1:] == [5])
        await busy_site.take_in(deployment_id, line("late"), ended(0))
        last = (await busy_site.deployment(deployment_id)).seq
        await until(lambda: viewer.seqs(deployment_id)[-1:] == [last])
        assert viewer.of(deployment_id) == await busy_site.messages(deployment_id, after=2)

    async def test_output_is_sent_to_subscribers_only(self, channel: Channel, busy_site: Site) -> None:
        deployment_id = await busy_site.running()
        reader, viewer = await channel.viewer(), await channel.viewer()
        reader.client.subscribe(deployment_id, 0)
        for number in range(20):
            await busy_site.take_in(deployment_id, line(f"line {number}"), reported(f"step {number}"))
        await busy_site.take_in(deployment_id, ended(0))
        last = (await busy_site.deployment(deployment_id)).seq
        await until(lambda: reader.seqs(deployment_id)[-1:] == viewer.seqs(deployment_id)[-1:] == [last])
        stored = await busy_site.messages(deployment_id)
        assert reader.of(deployment_id) == stored
        joined = viewer.seqs(deployment_id)[0]
        states = [message for message in stored if message["type"] != "output" and message["seq"] >= joined]
        assert viewer.of(deployment_id) == states

    async def test_a_late_subscriber_gets_the_rest_live(self, channel: Channel, busy_site: Site) -> None:
        deployment_id = await busy_site.running()
        viewer = await channel.viewer()

        async def run() -> None:
            for number in range(60):
                await busy_site.take_in(deployment_id, line(f"line {number}"))
            await busy_site.take_in(deployment_id, ended(0))

        running = asyncio.create_task(run())
        viewer.client.subscribe(deployment_id, 0)
        await running
        last = (await busy_site.deployment(deployment_id)).seq
        await until(lambda: viewer.seqs(deployment_id)[-1:] == [last])
        assert viewer.of(deployment_id) == await busy_site.messages(deployment_id)

    async def test_service_changes_are_sent(self, channel: Channel, busy_site: Site) -> None:
        viewer = await channel.viewer()
        service_id = await busy_site.service("shop", description="A shop")
        await until(lambda: viewer.messages)
        await busy_site.bus.handle(DeleteService(service_id=service_id), by=WORKER)
        await until(lambda: len(viewer.messages) > 1)
        assert [(m["type"], m["id"], m["name"], m["deleted"]) for m in viewer.messages] == [
            ("service", service_id, "shop", False),
            ("service", service_id, "shop", True),
        ]

    async def test_a_service_token_receives_only_its_service(self, channel: Channel, busy_site: Site) -> None:
        shop = await busy_site.service("shop")
        viewer = await channel.viewer(
            Actor(kind=TokenType.SERVICE, expires=0, service_id=shop, rights=of_service(shop))
        )
        other = await busy_site.succeeded("blog")
        own = await busy_site.succeeded("shop")
        last = (await busy_site.deployment(own)).seq
        await until(lambda: viewer.seqs(own)[-1:] == [last])
        assert viewer.of(other) == []
        assert not [message for message in viewer.messages if message["type"] == "service"]

    async def test_own_commits_do_not_need_a_notification(self, idle: Channel, busy_site: Site) -> None:
        viewer = await idle.viewer()
        busy_site.bus.on_committed(idle.feed.send_committed)
        own = await busy_site.succeeded()
        last = (await busy_site.deployment(own)).seq
        await until(lambda: viewer.seqs(own)[-1:] == [last])
        assert viewer.seqs(own) == list(range(1, last + 1))

    async def test_rolled_back_changes_are_not_sent(self, channel: Channel, busy_site: Site) -> None:
        viewer = await channel.viewer()
        deployment_id = await busy_site.running()
        last = (await busy_site.deployment(deployment_id)).seq
        await until(lambda: viewer.seqs(deployment_id)[-1:] == [last])

        async def half() -> None:
            async with busy_site.open_uow() as uow:
                deployment = await uow.deployments.get(deployment_id, visible=EVERYTHING)
                event = StoredEvent(last + 1, None, "{}")
                await uow.batches.store(Change(deployment=deployment, version=Version.of(deployment), events=[event]))
                await uow.events.wake(f"deployment {deployment_id}")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await half()
        await busy_site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        await until(lambda: viewer.seqs(deployment_id)[-1:] == [last + 1])
        assert viewer.of(deployment_id)[-1]["cancel_requested"] == "Cancelled by bob."

    @pytest.mark.parametrize("payload", ["deployment 999999", "service 999999", "nonsense", "", "access"])
    async def test_notifications_without_events_are_harmless(
        self, channel: Channel, busy_site: Site, payload: str
    ) -> None:
        viewer = await channel.viewer()
        async with busy_site.open_uow() as uow:
            await uow.events.wake(payload)
        deployment_id = await busy_site.succeeded()
        last = (await busy_site.deployment(deployment_id)).seq
        await until(lambda: viewer.seqs(deployment_id)[-1:] == [last])

    async def test_other_listeners_get_their_payloads(self, channel: Channel, busy_site: Site) -> None:
        received_payloads: list[str] = []
        channel.listener.on("access", lambda _: received_payloads.append("access"))
        channel.listener.on("queue", lambda _: received_payloads.append("queue"))
        channel.listener.on("cancel", lambda text: received_payloads.append(f"cancel {text}"))
        user_id = await busy_site.user()
        await busy_site.bus.handle(ChangeUser(user_id=user_id, password_hash="new"), by=WORKER)
        await until(lambda: "access" in received_payloads)
        deployment_id = await busy_site.running()
        await until(lambda: "queue" in received_payloads)
        await busy_site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        await until(lambda: f"cancel {deployment_id}" in received_payloads)


class TestPolling:
    @pytest.fixture(autouse=True)
    def quick_sweep(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(live, "SWEEP_SECONDS", 0.02)

    async def test_missed_notifications_are_found(self, silent: Channel, busy_site: Site) -> None:
        viewer = await silent.viewer()
        deployment_id = await busy_site.running(steps=("A",))
        await until(lambda: "running" in [message.get("state") for message in viewer.of(deployment_id)])
        await busy_site.take_in(deployment_id, reported("A"))
        last = (await busy_site.deployment(deployment_id)).seq
        await until(lambda: viewer.seqs(deployment_id)[-1:] == [last])
        assert viewer.of(deployment_id) == await busy_site.messages(deployment_id)

    async def test_a_missed_end_is_found(self, silent: Channel, busy_site: Site) -> None:
        viewer = await silent.viewer()
        deployment_id = await busy_site.running()
        await busy_site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        now = busy_site.clock.now.timestamp()
        await busy_site.take_in(deployment_id, ended(0, second=now - ended(0, second=0).at.timestamp()))
        last = (await busy_site.deployment(deployment_id)).seq
        await until(lambda: viewer.seqs(deployment_id)[-1:] == [last])


class TestSlowClients:
    async def test_a_stalled_client_misses_nothing_and_does_not_block_others(
        self, channel: Channel, busy_site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(websocket, "OUTBOX_MESSAGES", 5)
        deployment_id = await busy_site.running()
        reader = await channel.viewer()
        reader.client.subscribe(deployment_id, 0)
        stalled = Viewer(channel.feed)
        await channel.feed.join(stalled.client)
        joined = stalled.client.cursors[deployment_id]
        for number in range(30):
            await busy_site.take_in(deployment_id, line(), reported(f"step {number}"))
        last = (await busy_site.deployment(deployment_id)).seq
        await until(lambda: reader.seqs(deployment_id)[-1:] == [last])
        assert stalled.client.behind == {deployment_id}
        while stalled.client.behind or not stalled.client.is_empty:
            while (message := stalled.client.take()) is not None:
                stalled.messages.append(json.loads(message))
            if stalled.client.behind:
                await channel.feed.catch_up(stalled.client, deployment_id)
        stored = await busy_site.messages(deployment_id, after=joined)
        # It might have received some of the events that arrived while it was joining.
        since = [message for message in stalled.of(deployment_id) if message["seq"] > joined]
        assert since == [message for message in stored if message["type"] != "output"]


class TestDatabaseOutages:
    async def test_clients_miss_nothing_during_an_outage(
        self, channel: Channel, busy_site: Site, databases: Databases, database_url: str
    ) -> None:
        deployment_id = await busy_site.running()
        viewer = await channel.viewer()
        viewer.client.subscribe(deployment_id, 0)
        last = (await busy_site.deployment(deployment_id)).seq
        await until(lambda: viewer.seqs(deployment_id)[-1:] == [last])
        for _ in range(3):
            await databases.allow_connections(database_url, allowed=False)
            await databases.cut_connections(database_url)
            await until(lambda: not channel.listener.connected.is_set())
            await databases.allow_connections(database_url, allowed=True)
            await change_something(busy_site, deployment_id)
            last = (await busy_site.deployment(deployment_id)).seq
            await until(lambda: viewer.seqs(deployment_id)[-1:] == [last])  # noqa: B023 - waited for in this round
        assert viewer.of(deployment_id) == await busy_site.messages(deployment_id)

    async def test_the_listener_reconnects(
        self, channel: Channel, busy_site: Site, databases: Databases, database_url: str
    ) -> None:
        connections: list[int] = []
        channel.listener.on_connect(lambda: connections.append(1))
        await databases.cut_connections(database_url)
        await until(lambda: connections)
        received_payloads: list[str] = []
        channel.listener.on("access", received_payloads.append)
        await change_something(busy_site)
        await until(lambda: received_payloads)


async def change_something(site: Site, deployment_id: int | None = None) -> None:
    """Change something. Retry until the database accepts the change, because the pool's old connections are dead."""

    async def attempt() -> None:
        if deployment_id is None:
            async with site.open_uow() as uow:
                await uow.events.wake("access")
        else:
            await site.take_in(deployment_id, line())

    await follower.persistently(attempt)


async def test_a_process_without_clients_does_not_listen(busy_site: Site, database_url: str) -> None:
    """A client reads the events from before it joined on its own."""
    channel = Channel(busy_site, database_url)
    deployment_id = await busy_site.running()
    channel.feed._changed.add(deployment_id)
    await channel.feed._feed()
    viewer = Viewer(channel.feed)
    await channel.feed.join(viewer.client)
    assert viewer.client.is_empty
    assert viewer.client.cursors == {deployment_id: (await busy_site.deployment(deployment_id)).seq}
    await channel.stop()


class TestReadingForOneClient:
    """Many clients can catch up at once, so each one reads little from the database at a time."""

    @pytest.mark.parametrize(("max_bytes", "expected"), [(1, 1), (150_000, 2), (250_000, 3), (10**9, 4)])
    async def test_reading_stops_at_the_event_that_reaches_the_limit(
        self, idle: Channel, busy_site: Site, max_bytes: int, expected: int
    ) -> None:
        deployment_id = await busy_site.running()
        after = (await busy_site.deployment(deployment_id)).seq
        for _ in range(4):
            await busy_site.take_in(deployment_id, line("x" * 100_000))
        events = await idle.tail.some_after(
            deployment_id, after, visible=EVERYTHING, limit=100, max_bytes=max_bytes, with_output=True
        )
        assert [event.seq for event in events] == list(range(after + 1, after + 1 + expected))

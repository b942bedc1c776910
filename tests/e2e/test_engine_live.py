"""On the live channel, late, returning, and slow clients get every message once, in order, and without gaps."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.api import Api
from tests.e2e.conftest import NewServer
from tests.e2e.folders import Puppet, python, report, steps
from tests.e2e.live import Live, Message
from tests.e2e.processes import Worker, arguments, children, peer_ports
from tests.e2e.server import Server
from tests.e2e.waiting import wait_until

CLIENTS = 50
EVENTS = 5000
NO_WORKER = "No worker is running. Start one with: fastdeploy worker"
# Incompressible messages: more than the kernel and the server together buffer for a client.
FLOOD = f"""
import json, os
for n in range({EVENTS}):
    print(json.dumps({{"name": f"step {{n}}", "state": "success", "message": os.urandom(1500).hex()}}))
"""


@pytest.fixture
def held(server: Server) -> Iterator[tuple[int, Puppet]]:
    """Yield a deployment that the test controls."""
    with server.puppet({"steps": steps("One", "Two")}) as (name, puppet):
        deployment_id = int(server.api.start(name)["id"])
        puppet.config()
        yield deployment_id, puppet
        puppet.exit()
        server.api.wait_until_final(deployment_id)


def cause_events(puppet: Puppet, part: int) -> None:
    """Cause one event of each kind."""
    puppet.print(report("One", "running"), f"line {part}", report("One"), *(f"line {part}.{n}" for n in range(50)))


def complete(api: Api, deployment_id: int) -> list[Message]:
    """Return all messages of a deployment. Their numbers must not have gaps."""
    events = api.events(deployment_id)
    assert [event["seq"] for event in events] == list(range(1, api.deployment(deployment_id)["seq"] + 1))
    return events


def port_of(live: Live) -> int:
    """Return the local port of a connection."""
    return int(live._connection.socket.getsockname()[1])


def wait_for_line(live: Live, deployment_id: int, text: str) -> None:
    """Wait for a line of output."""
    live.wait_for(lambda _: text in lines_in(live.about(deployment_id)))


def wait_until_level(live: Live, deployment_id: int, events: list[Message]) -> None:
    """Wait until exactly these events have arrived since the subscription, in order."""
    last = events[-1]
    live.wait_for(lambda message: message == last and len(live.transcript(deployment_id)) >= len(events))
    live.is_silent()  # waits for messages that are still in transit
    assert live.transcript(deployment_id) == events


def since(live: Live, deployment_id: int, after: int) -> list[Message]:
    """Return the messages that arrived after subscribing with this `after`."""
    received = live.about(deployment_id)
    # Changes that arrive before the subscription takes effect are sent again.
    begin = max(index for index, message in enumerate(received) if message["seq"] == after + 1)
    return received[begin:]


def lines_in(messages: list[Message]) -> list[str]:
    """Return the lines of output in the messages."""
    return [line[2] for message in messages if message["type"] == "output" for line in message["lines"]]


def test_late_subscribers_get_the_same_messages(server: Server, held: tuple[int, Puppet]) -> None:
    deployment_id, puppet = held
    with server.api.live() as early, server.api.live() as late, server.api.live() as last:
        early.subscribe(deployment_id)
        cause_events(puppet, 1)
        wait_for_line(early, deployment_id, "line 1.49")
        late.subscribe(deployment_id)
        cause_events(puppet, 2)
        puppet.exit()
        server.api.wait_until_final(deployment_id)
        last.subscribe(deployment_id)
        events = complete(server.api, deployment_id)
        for live in (early, late, last):
            wait_until_level(live, deployment_id, events)


def test_returning_subscribers_get_the_missing_messages(server: Server, held: tuple[int, Puppet]) -> None:
    deployment_id, puppet = held
    got: list[Message] = []
    for part in range(3):
        with server.api.live() as live:
            live.subscribe(deployment_id, after=len(got))
            cause_events(puppet, part)
            # Disconnects in the middle of the stored messages.
            wait_for_line(live, deployment_id, f"line {part}")
            got += since(live, deployment_id, len(got))
        cause_events(puppet, 10 + part)
    puppet.exit()
    server.api.wait_until_final(deployment_id)
    with server.api.live() as live:
        live.subscribe(deployment_id, after=len(got))
        live.wait_for_state(deployment_id)
        got += since(live, deployment_id, len(got))
    events = complete(server.api, deployment_id)
    assert got == events
    # The same applies over HTTP, from any position.
    for after in (0, 1, len(events) // 2, len(events)):
        assert server.api.events(deployment_id, after=after) == events[after:]


def test_clients_without_a_subscription_get_only_state_changes(server: Server, held: tuple[int, Puppet]) -> None:
    deployment_id, puppet = held
    with server.api.live() as live:
        after = server.api.deployment(deployment_id)["seq"]
        cause_events(puppet, 1)
        puppet.exit()
        live.wait_for_state(deployment_id)
        events = complete(server.api, deployment_id)
        # Changes from before the client signed in can still be in transit.
        received = [message for message in live.about(deployment_id) if message["seq"] > after]
        assert received == [event for event in events[after:] if event["type"] != "output"]


def test_a_client_that_does_not_read_misses_nothing_and_does_not_block_others(server: Server) -> None:
    api = server.api
    name = server.add_service(python(FLOOD))
    with api.live() as slow, api.live() as quick:
        deployment_id = int(api.start(name)["id"])
        for live in (slow, quick):
            live.subscribe(deployment_id)
        quick.wait_for_state(deployment_id)
        # When the others have received everything, the slow client has not read anything.
        assert len(slow.messages) < 10
        events = complete(api, deployment_id)
        assert sum(event["type"] == "step" and event["state"] == "success" for event in events) == EVENTS
        wait_until_level(quick, deployment_id, events)
        wait_until_level(slow, deployment_id, events)


def test_many_clients_get_the_same_messages_in_the_same_order(server: Server, held: tuple[int, Puppet]) -> None:
    deployment_id, puppet = held
    with ExitStack() as stack:
        clients = [stack.enter_context(server.api.live()) for _ in range(CLIENTS)]
        for live in clients:
            live.subscribe(deployment_id)
        for part in range(10):
            cause_events(puppet, part)
        puppet.exit()
        server.api.wait_until_final(deployment_id)
        events = complete(server.api, deployment_id)
        for live in clients:
            wait_until_level(live, deployment_id, events)


@pytest.mark.slow  # in the first tier: test_process.py::test_two_web_server_processes_share_everything
def test_clients_of_several_processes_get_the_same_messages(new_server: NewServer) -> None:
    server = new_server(options=["--workers", "2", "--no-worker"])
    server.start()
    api = server.api
    (sibling,) = wait_until(lambda: [pid for pid in children(server.pid) if "--listen-fd" in arguments(pid)])
    with ExitStack() as stack, server.puppet() as (name, puppet):
        clients: dict[int, Live] = {}

        def both_have_one() -> bool:
            live = stack.enter_context(api.live())
            pid = next(pid for pid in (server.pid, sibling) if port_of(live) in peer_ports(pid))
            clients.setdefault(pid, live)
            return len(clients) == 2

        wait_until(both_have_one, "both processes to have a client")
        deployment_id = int(api.start(name)["id"])
        assert api.deployment(deployment_id)["waiting"]["reason"] == NO_WORKER
        for live in clients.values():
            live.subscribe(deployment_id)
        stack.enter_context(Worker(server))
        cause_events(puppet, 1)
        puppet.exit()
        api.wait_until_final(deployment_id)
        events = complete(api, deployment_id)
        for live in clients.values():
            wait_until_level(live, deployment_id, events)

"""WebSockets before and after sign-in: large messages, floods, clients that do not read, and too many connections."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import pytest
from websockets.asyncio.client import connect

from tests.e2e.conftest import NewServer
from tests.e2e.folders import python
from tests.e2e.live import Live
from tests.e2e.processes import forget_peak_memory, peak_memory, peer_ports
from tests.e2e.raw import BINARY, CONTINUATION, PING, TEXT, Raw, RawWebSocket, frame
from tests.e2e.server import Server, temporary_folder
from tests.e2e.waiting import wait_until

MIB = 1 << 20
LIMIT = 64 * 1024
CLIENTS = 60
LARGE = 15 * MIB
AT_ONCE = 150
# With the limits of `crowded`, more than 20 connections from one address are closed, unless it is a proxy's address.
PER_ADDRESS, TOTAL = 20, 40
ELSEWHERE = "127.0.0.2"
EVENTS = 6000
FLOOD = f"""
import json, os
for n in range({EVENTS}):
    print(json.dumps({{"name": f"step {{n}}", "state": "success", "message": os.urandom(1500).hex()}}))
"""
HALF_A_HEAD = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def short_timeouts() -> Iterator[Server]:
    """Yield a server with short timeouts for clients that do not sign in or do not read."""
    settings = {"SIGN_IN_TIMEOUT_SECONDS": "2", "SEND_TIMEOUT_SECONDS": "2"}
    with temporary_folder() as folder, Server(folder, settings=settings) as running:
        yield running
        assert "Traceback" not in running.log_file.read_text()


@pytest.fixture(scope="module")
def crowded() -> Iterator[Server]:
    """Yield a server that allows few connections."""
    settings = {"MAX_WAITING_CONNECTIONS": str(TOTAL), "MAX_WAITING_CONNECTIONS_PER_ADDRESS": str(PER_ADDRESS)}
    with temporary_folder() as folder, Server(folder, settings=settings) as running:
        yield running
        assert "Traceback" not in running.log_file.read_text()


@pytest.fixture(params=[False, True], ids=["before sign-in", "after sign-in"])
def raw(request: pytest.FixtureRequest, server: Server) -> Iterator[RawWebSocket]:
    """Yield a WebSocket of the shared server."""
    with RawWebSocket(server) as client:
        if request.param:
            client.sign_in(server.api.token)
        yield client


# Size


@pytest.mark.parametrize(
    "sent",
    [
        frame(b"", size=LIMIT + 1),
        frame(b"", BINARY, size=LIMIT + 1),
        frame(b"", size=2**62),
        frame(b"x" * LARGE),
        frame(b"x" * LIMIT, last=False) + frame(b"x", CONTINUATION),
        frame(b"x" * 40_000, last=False) + frame(b"x" * 40_000, CONTINUATION, last=False),
    ],
    ids=["announced", "binary", "as large as can be", "complete", "a fragment more", "fragments without end"],
)
def test_a_large_message_closes_the_connection(raw: RawWebSocket, sent: bytes) -> None:
    raw.send(sent)
    code, reason = raw.read_close()
    assert (code, str(LIMIT) in reason) == (1009, True)


@pytest.mark.parametrize("sent", [frame(b"x" * LIMIT), frame(b"x" * 60_000, last=False) + frame(b"x", CONTINUATION)])
def test_a_message_of_the_maximum_size_is_accepted(raw: RawWebSocket, sent: bytes) -> None:
    raw.send(sent)
    assert b'"type"' in raw.read_until(b"}")


def test_compression_does_not_bypass_the_limit(raw: RawWebSocket) -> None:
    raw.send(frame(b"\x00" * 100, compressed=True))
    assert raw.read_close()[0] == 1002


def test_large_messages_before_sign_in_take_little_memory(new_server: NewServer) -> None:
    server = new_server()
    server.start()
    server.api.live().close()  # loads the modules that sign-in needs
    forget_peak_memory(server.pid)
    before = peak_memory(server.pid)
    with ExitStack() as stack:
        clients = [stack.enter_context(RawWebSocket(server)) for _ in range(CLIENTS)]
        for client in clients[: CLIENTS // 2]:
            client.send(frame(b"x" * LARGE))
        for client in clients[CLIENTS // 2 :]:
            client.send(frame(b"x" * (LIMIT - 1), size=LIMIT))
        with server.api.live():
            pass
        assert [client.read_close()[0] for client in clients[: CLIENTS // 2]] == [1009] * (CLIENTS // 2)
        assert peak_memory(server.pid) - before < 60


# Floods


@pytest.mark.parametrize(
    "sent",
    [
        frame(b"{}"),
        frame(b'{"ping": 1}'),
        frame(b"x" * 100, PING),
        frame(b"", CONTINUATION, last=False),
        frame(json.dumps({"subscribe": {"deployment_id": 1}}).encode()),
    ],
    ids=["nonsense", "our pings", "pings", "empty fragments", "subscriptions"],
)
def test_a_flood_of_messages_closes_the_connection(raw: RawWebSocket, sent: bytes) -> None:
    if sent == frame(b"", CONTINUATION, last=False):
        raw.send(frame(b"", TEXT, last=False))
    for _ in range(100):
        raw.send(sent * 1000)
    code, reason = raw.read_close()
    assert (code, "messages per second" in reason) == (1008, True)


def test_as_many_messages_as_the_page_sends_are_accepted(server: Server) -> None:
    with RawWebSocket(server) as client:
        client.sign_in(server.api.token)
        client.send(frame(b"{}") * 150)
        wait_until(lambda: client.is_open() and client.received.count(b"not_understood") == 150, "all answers")


# Sign-in


def test_a_client_that_does_not_sign_in_gets_a_reason(short_timeouts: Server) -> None:
    with Live(short_timeouts.base_url) as live:
        assert live.wait_until_closed() == 1008


def test_a_client_that_neither_signs_in_nor_reads_is_closed(short_timeouts: Server) -> None:
    with RawWebSocket(short_timeouts, window=4096) as client:
        for _ in range(100):
            client.send(frame(json.dumps({"access_token": "x" * 1000}).encode()))
        wait_until(lambda: client.port not in peer_ports(short_timeouts.pid), "the connection to close")


def test_many_clients_sign_in_at_once(server: Server) -> None:
    """This happens after a restart of the server, with all clients at one address."""
    url = f"{server.base_url.replace('http', 'ws', 1)}/deployments/ws/00000000-0000-0000-0000-000000000000"
    token = server.api.token

    async def sign_in() -> str:
        async with connect(url, proxy=None, open_timeout=None) as connection:
            await connection.send(json.dumps({"access_token": token}))
            status = json.loads(await connection.recv())["status"]
            assert isinstance(status, str)
            return status

    async def sign_in_all() -> list[str]:
        return await asyncio.gather(*(sign_in() for _ in range(AT_ONCE)))

    assert asyncio.run(sign_in_all()) == ["success"] * AT_ONCE


# Slow readers


@pytest.mark.parametrize(
    "size",
    [pytest.param(0, id="not at all"), pytest.param(1, marks=pytest.mark.slow, id="a byte at a time")],
)
def test_a_client_that_does_not_read_a_long_log_is_closed(short_timeouts: Server, size: int) -> None:
    api = short_timeouts.api
    deployment_id = api.run(short_timeouts.add_service(python(FLOOD)))["id"]
    with RawWebSocket(short_timeouts, window=4096) as stalled, api.live() as quick:
        stalled.sign_in(api.token)
        stalled.send(frame(json.dumps({"subscribe": {"deployment_id": deployment_id, "after": 0}}).encode()))
        stalled.read_until(b'"seq"')
        quick.subscribe(deployment_id)
        quick.wait_for_state(deployment_id)

        def is_gone() -> bool:
            if size:
                stalled.read_some(size)
            return stalled.port not in peer_ports(short_timeouts.pid)

        wait_until(is_gone, "the connection to close")


# Number of connections


def half_heads(server: Server, stack: ExitStack, number: int, source: str) -> list[Raw]:
    """Open connections that have sent half a head, one after the other."""
    opened = []
    for _ in range(number):
        opened.append(stack.enter_context(Raw(server, source=source)))
        opened[-1].send(HALF_A_HEAD)
        wait_until(lambda: opened[-1].port in peer_ports(server.pid) or not opened[-1].is_open())
    return opened


def number_open(clients: list[Raw] | list[RawWebSocket]) -> int:
    """Return the number of connections that the server has not closed."""
    return sum(client.is_open() for client in clients)


def test_waiting_connections_of_one_address_are_limited(crowded: Server) -> None:
    with ExitStack() as stack:
        opened = half_heads(crowded, stack, PER_ADDRESS + 5, ELSEWHERE)
        wait_until(lambda: number_open(opened) == PER_ADDRESS, "the oldest to be closed")
        assert [client.is_open() for client in opened] == [False] * 5 + [True] * PER_ADDRESS
        assert all(b" 503 " in client.received and b"retry-after: " in client.received for client in opened[:5])
        # Complete requests from that address still get responses.
        with Raw(crowded, source=ELSEWHERE) as client:
            client.send(HALF_A_HEAD + b"\r\n")
            assert client.read_until(b" 200 ")
        with crowded.api.live():
            pass


def test_waiting_connections_are_limited_in_total(crowded: Server) -> None:
    """Connections from a proxy's address only count toward the total until the proxy names its client."""
    with ExitStack() as stack:
        opened = half_heads(crowded, stack, TOTAL + 5, "127.0.0.1")
        wait_until(lambda: number_open(opened) == TOTAL, "the oldest to be closed")
        with crowded.api.live() as live:
            assert live.is_silent()


def test_sockets_before_sign_in_are_limited(crowded: Server) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(RawWebSocket(crowded, source=ELSEWHERE)) for _ in range(PER_ADDRESS + 5)]
        wait_until(lambda: number_open(clients) == PER_ADDRESS, "the oldest to be closed")
        assert [client.read_close()[0] for client in clients[:5]] == [1013] * 5
        with crowded.api.live() as live:
            assert live.is_silent()


def test_behind_a_proxy_each_client_has_its_own_limit(crowded: Server) -> None:
    with ExitStack() as stack:

        def through_proxy(client: str, number: int) -> list[RawWebSocket]:
            headers = f"X-Forwarded-For: {client}\r\n"
            return [stack.enter_context(RawWebSocket(crowded, headers=headers)) for _ in range(number)]

        others = through_proxy("203.0.113.5", 5)
        many = through_proxy("198.51.100.7", PER_ADDRESS + 5)
        wait_until(lambda: number_open(many) == PER_ADDRESS, "the oldest to be closed")
        assert number_open(others) == 5


def test_a_forwarded_address_without_a_trusted_proxy_is_ignored(crowded: Server) -> None:
    with ExitStack() as stack:
        numbers = count(1)
        clients = [
            stack.enter_context(
                RawWebSocket(crowded, source=ELSEWHERE, headers=f"X-Forwarded-For: 203.0.113.{next(numbers)}\r\n")
            )
            for _ in range(PER_ADDRESS + 5)
        ]
        wait_until(lambda: number_open(clients) == PER_ADDRESS, "the oldest to be closed")


def test_signed_in_sockets_do_not_count(crowded: Server) -> None:
    with ExitStack() as stack:
        clients: list[RawWebSocket] = []
        for _ in range(TOTAL + 5):
            clients.append(stack.enter_context(RawWebSocket(crowded, source=ELSEWHERE)))
            clients[-1].sign_in(crowded.api.token)
        half_heads(crowded, stack, TOTAL + 5, "127.0.0.1")
        assert number_open(clients) == TOTAL + 5


def test_more_connections_than_file_descriptors_are_harmless(new_server: NewServer) -> None:
    server = new_server()
    server.through = ["prlimit", "--nofile=600:600"]
    server.start()
    with ExitStack() as stack:
        clients = [stack.enter_context(Raw(server)) for _ in range(1200)]
        wait_until(lambda: number_open(clients) < 600, "the oldest to be closed")
        assert server.api.run(server.add_service(python("print('works')")))["state"] == "success"
    assert server.is_ready()
    assert "Traceback" not in server.log()
    assert "to make room" in server.log()

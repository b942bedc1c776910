"""HTTP requests that are too slow or too large are rejected at little cost to the server."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import NewServer
from tests.e2e.folders import python
from tests.e2e.processes import arguments, children, forget_peak_memory, peak_memory, peer_ports
from tests.e2e.raw import Raw, upgrade
from tests.e2e.server import Server, temporary_folder
from tests.e2e.waiting import wait_until

HEAD = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
KIB = 1024
PAGES = 400


@pytest.fixture(scope="module")
def short_timeouts() -> Iterator[Server]:
    """Yield a server with short timeouts."""
    settings = {
        "REQUEST_HEAD_TIMEOUT_SECONDS": "1",
        "REQUEST_BODY_TIMEOUT_SECONDS": "1",
        "SEND_TIMEOUT_SECONDS": "1",
    }
    with temporary_folder() as folder, Server(folder, settings=settings) as running:
        yield running
        assert "Traceback" not in running.log_file.read_text()


def drip(connection: Raw, piece: bytes) -> None:
    """Send a piece repeatedly until the server closes the connection."""
    wait_until(lambda: not (connection.send(piece) and connection.is_open()), "the connection to close")


def status(response: bytes) -> int:
    """Return the status of the last response."""
    return int(response[response.rindex(b"HTTP/1.1 ") + 9 :][:3])


def detail(response: bytes) -> str:
    """Return the detail of an error response."""
    text = json.loads(response[response.rindex(b"\r\n\r\n") :])["detail"]
    assert isinstance(text, str)
    return text


# Timeouts


@pytest.mark.parametrize("sent", [b"G", b"GET / HTTP/1.1", HEAD, HEAD + b"X-Long: aaaa"])
def test_an_incomplete_head_times_out(short_timeouts: Server, sent: bytes) -> None:
    with Raw(short_timeouts) as slow:
        slow.send(sent)
        response = slow.read_to_end()
    assert (status(response), "Send it again" in detail(response)) == (408, True)


def test_a_head_that_never_stops_growing_times_out(short_timeouts: Server) -> None:
    with Raw(short_timeouts) as slow:
        slow.send(HEAD)
        drip(slow, b"X-A: b\r\n")
        assert status(slow.received) == 408 or b"More than" in slow.received


def test_a_silent_connection_is_closed(short_timeouts: Server) -> None:
    with Raw(short_timeouts) as silent:
        assert silent.read_to_end() == b""


def test_line_breaks_do_not_keep_a_connection_open(short_timeouts: Server) -> None:
    with Raw(short_timeouts) as used:
        used.send(HEAD + b"\r\n")
        used.read_until(b'"ok"')
        drip(used, b"\r\n")


@pytest.mark.parametrize(
    "length", [b"Content-Length: 100\r\n\r\nusername=a", b"Transfer-Encoding: chunked\r\n\r\n5\r\nuser"]
)
def test_an_incomplete_body_times_out(short_timeouts: Server, length: bytes) -> None:
    with Raw(short_timeouts) as slow:
        slow.send(POST + length)
        response = slow.read_to_end()
    assert (status(response), response.count(b"HTTP/1.1")) == (408, 1)


def test_a_rejected_body_cannot_continue(short_timeouts: Server) -> None:
    with Raw(short_timeouts) as slow:
        slow.send(POST + b"Content-Length: 99999999999\r\n\r\n")
        assert status(slow.read_until(b"larger than")) == 413
        drip(slow, b"x")


def test_a_second_request_has_the_same_timeout(short_timeouts: Server) -> None:
    with Raw(short_timeouts) as slow:
        slow.send(HEAD + b"\r\n")
        slow.read_until(b'"ok"')
        slow.send(HEAD)
        assert status(slow.read_to_end()) == 408


def test_an_idle_connection_stays_open(short_timeouts: Server) -> None:
    with Raw(short_timeouts) as client:
        for _ in range(3):
            client.send(HEAD + b"\r\n")
            client.read_until(b'"ok"')
            client.received = b""


def test_a_response_that_is_not_read_is_abandoned(short_timeouts: Server) -> None:
    api = short_timeouts.api
    name = short_timeouts.add_service(python(f"for n in range({PAGES * 100}): print('x' * 200)"))
    deployment = api.run(name)
    path = f"/deployments/{deployment['id']}/output?limit=10000"
    with Raw(short_timeouts, window=4 * KIB) as stalled:
        stalled.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n\r\n".encode())
        stalled.read_until(b" 200 ")
        wait_until(lambda: stalled.port not in peer_ports(short_timeouts.pid), "the connection to close")


def test_every_web_server_process_has_these_limits(new_server: NewServer) -> None:
    server = new_server(options=["--workers", "2", "--no-worker"], settings={"REQUEST_HEAD_TIMEOUT_SECONDS": "1"})
    server.start()
    (sibling,) = wait_until(lambda: [pid for pid in children(server.pid) if "--listen-fd" in arguments(pid)])
    rejected: dict[int, int] = {}

    def both_have_rejected() -> bool:
        with Raw(server) as slow:
            slow.send(HEAD)
            owner = wait_until(lambda: [pid for pid in (server.pid, sibling) if slow.port in peer_ports(pid)])[0]
            rejected.setdefault(owner, status(slow.read_to_end()))
        return len(rejected) == 2

    wait_until(both_have_rejected, "both processes to refuse a request")
    assert set(rejected.values()) == {408}


# Size


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"X-Large: " + b"x" * 70 * KIB,
        HEAD + b"X-Large: " + b"x" * 70 * KIB + b"\r\n\r\n",
        HEAD + b"X-Large: " + b"x" * 1000 * KIB,
        HEAD + b"X: y\r\n" * 201,
        HEAD + b"X: y\r\n" * 201 + b"\r\n",
        b"GET /" + b"x" * 70 * KIB + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"\r\n" + HEAD + b"X-Large: " + b"x" * 70 * KIB + b"\r\n\r\n",
    ],
    ids=["incomplete", "complete", "a megabyte", "many, incomplete", "many", "path", "the second one"],
)
def test_a_large_head_is_rejected(server: Server, sent: bytes) -> None:
    with Raw(server) as client:
        client.send(sent)
        response = client.read_to_end()
    # In the middle of a response, the server cannot send an error.
    assert response == b"" or (status(response), "ore than" in detail(response) or "larger" in detail(response)) == (
        431,
        True,
    )


@pytest.mark.parametrize("sent", [HEAD + b"X-Large: " + b"x" * 60 * KIB, HEAD + b"X: y\r\n" * 190])
def test_a_head_of_the_maximum_size_is_accepted(server: Server, sent: bytes) -> None:
    with Raw(server) as client:
        client.send(sent + b"\r\n\r\n")
        assert status(client.read_until(b'"ok"')) == 200


@pytest.mark.parametrize(
    "sent", [b"0\r\n" + b"X: y\r\n" * 1000, b"0\r\nX-Large: " + b"x" * 2000 * KIB, b"1\r\nx\r\n" * 400 * KIB]
)
def test_chunk_headers_and_trailers_are_limited(server: Server, sent: bytes) -> None:
    with Raw(server) as client:
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + sent)
        assert status(client.read_to_end()) in {413, 431}


def test_a_websocket_with_a_large_head_is_rejected(server: Server) -> None:
    with Raw(server) as client:
        client.send(upgrade(f"X-Large: {'x' * 20 * KIB}\r\n"))
        assert status(client.read_to_end()) == 431


def test_pipelined_requests_are_limited(server: Server) -> None:
    with Raw(server) as client:
        client.send((HEAD + b"\r\n") * 20)
        wait_until(lambda: client.is_open() and client.received.count(b'"ok"') == 20, "all answers")
        client.send((HEAD + b"\r\n") * 5000)
        assert client.read_to_end().count(b'"ok"') < 100


def test_large_heads_take_little_memory(new_server: NewServer) -> None:
    server = new_server()
    server.start()
    forget_peak_memory(server.pid)
    before = peak_memory(server.pid)
    for _ in range(20):
        with Raw(server) as client:
            client.send(HEAD + b"X-Large: " + b"x" * 10_000 * KIB)
    assert server.is_ready()
    assert peak_memory(server.pid) - before < 50


# HEAD


@pytest.mark.parametrize(
    "path", ["/", "/health/live", "/health/ready", "/docs", "/openapi.json", "/services/", "/ui/"]
)
def test_head_responds_like_get_without_a_body(server: Server, path: str) -> None:
    by_get, by_head = (server.api.admin.request(method, path) for method in ("GET", "HEAD"))
    assert by_head.content == b""
    changing = {"date"}
    assert by_head.status_code == by_get.status_code
    assert {name: value for name, value in by_head.headers.items() if name not in changing} == {
        name: value for name, value in by_get.headers.items() if name not in changing
    }


def test_head_needs_the_same_token_as_get(server: Server) -> None:
    assert server.api.anonymous.head("/services/").status_code == 401
    assert server.api.admin.head("/token").status_code == 405
    assert server.api.admin.head("/nothing").status_code == 404

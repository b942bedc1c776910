"""How the command line deals with servers that are busy, broken, elsewhere, or no fastDeploy at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deploy.entrypoints.cli.client.api import Api
from deploy.entrypoints.cli.client.credentials import FixedToken
from deploy.entrypoints.cli.client.deploy import start
from deploy.entrypoints.cli.client.errors import (
    ClientError,
    NeverConnected,
    NotSignedIn,
    Refused,
    Unavailable,
    Unreachable,
    UsageError,
)
from deploy.entrypoints.cli.client.transport import Transport

# What to answer: status, headers, body; None breaks the connection off without an answer.
Answer = tuple[int, dict[str, str], bytes] | None
BUSY = (503, {"Retry-After": "2"}, b'{"detail": "The database cannot be reached at the moment."}')


def good(body: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


class Scripted:
    """A server that gives its answers one after the other (the last one for ever), and what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.url = ""
        self.pauses: list[float] = []

    def next(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        self.asked.append((method, path, headers))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def api(self, token: str = "abc") -> Api:
        return Api(Transport(self.url), FixedToken(token, self.url), sleep=self.pauses.append)


@contextmanager
def serving(script: Scripted) -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = script.next(self.command, self.path, dict(self.headers))
            if answer is None:
                self.close_connection = True
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the library asks for this name

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


def test_a_read_comes_back_after_as_long_as_the_server_asks_for() -> None:
    with serving(Scripted(BUSY, BUSY, good([]))) as server:
        assert server.api().get("/services/") == []
    assert server.pauses == [2.0, 2.0]


def test_a_start_is_repeated_with_the_same_key() -> None:
    with serving(Scripted(BUSY, None, good({"id": 7}))) as server:
        assert start(server.api(), "/deployments/", "key-1", {"env": {}}) == {"id": 7}
    assert [headers["Idempotency-Key"] for _, _, headers in server.asked] == ["key-1"] * 3


def test_a_start_that_nobody_answers_says_how_to_find_out() -> None:
    with serving(Scripted(None)) as server, pytest.raises(Unreachable, match="--idempotency-key key-1"):
        start(server.api(), "/deployments/", "key-1")


def test_a_request_without_a_key_is_not_repeated() -> None:
    with serving(Scripted(BUSY)) as server, pytest.raises(Unavailable, match="database cannot be reached"):
        server.api().post("/deployments/7/cancel")
    assert len(server.asked) == 1


def test_a_server_that_stays_busy_is_given_up() -> None:
    with serving(Scripted(BUSY)) as server, pytest.raises(Unavailable):
        server.api().get("/services/")
    assert 1 < len(server.asked) < 20


def test_without_a_connection_it_fails_at_once() -> None:
    with serving(Scripted(good([]))) as server:
        api = server.api()
    with pytest.raises(NeverConnected, match="fastdeploy serve"):
        api.get("/services/")
    assert server.pauses == []


def status(code: int, body: bytes = b'{"detail": "No."}', **headers: str) -> Answer:
    return code, headers, body


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (status(401), NotSignedIn, "FASTDEPLOY_TOKEN"),
        (status(403), Refused, "No."),
        (status(409), Refused, "No."),
        (
            status(422, b'{"detail": [{"loc": ["body", "env", "a"], "msg": "Too long"}, {"loc": [], "msg": "Bad"}]}'),
            Refused,
            "env.a: Too long; Bad",
        ),
        (status(418, b"<html>teapot"), Refused, "418"),
        (status(200, b"<html>welcome"), Refused, "does not look like a fastDeploy server"),
        (status(301, b"", Location="https://elsewhere.example.com/"), Refused, "elsewhere.example.com"),
        (status(502, b"<html>bad gateway"), Unavailable, "502"),
        (status(500, b"Internal Server Error"), Refused, "500"),
        (status(403, b'{"detail": "\\u001b[2Jgone"}'), Refused, "^gone$"),
    ],
)
def test_every_answer_becomes_a_sentence(answer: Answer, kind: type[ClientError], text: str) -> None:
    with serving(Scripted(answer)) as server, pytest.raises(kind, match=text):
        server.api().get("/deployments/7")


def test_proxies_of_the_environment_are_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(Scripted(good([]))) as server:
        assert server.api().get("/services/") == []


def test_an_address_that_does_not_speak_tls_is_told_so() -> None:
    with serving(Scripted(good([]))) as server, pytest.raises(NeverConnected, match="TLS connection to"):
        Transport(server.url.replace("http:", "https:")).send("GET", "/")


def test_what_cannot_be_sent_is_told_instead_of_sent() -> None:
    with serving(Scripted(good({}))) as server, pytest.raises(UsageError, match="not valid text"):
        server.api().post("/deployments/", {"env": {"a": "\udcff"}}, key="key-1")


def test_requests_go_below_a_path_prefix() -> None:
    with serving(Scripted(good([]))) as server:
        url = f"{server.url}/tools/deploy"
        Api(Transport(url), FixedToken("abc", url)).get("/deployments/", state="failure", user=None)
    assert server.asked[0][1] == "/tools/deploy/deployments/?state=failure"

"""Send requests to servers that are busy, broken, redirecting, or not fastDeploy."""

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

# Status, headers, and body of a response. None closes the connection without a response.
Answer = tuple[int, dict[str, str], bytes] | None
BUSY = (503, {"Retry-After": "2"}, b'{"detail": "The database cannot be reached at the moment."}')


def success(body: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


class Scripted:
    """A server that returns its answers in order, repeats the last one, and records requests."""

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
            """Do not log anything."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


def test_reads_are_retried_after_the_requested_delay() -> None:
    with serving(Scripted(BUSY, BUSY, success([]))) as server:
        assert server.api().get("/services/") == []
    assert server.pauses == [2.0, 2.0]


def test_starts_are_retried_with_the_same_key() -> None:
    with serving(Scripted(BUSY, None, success({"id": 7}))) as server:
        assert start(server.api(), "/deployments/", "key-1", {"env": {}}) == {"id": 7}
    assert [headers["Idempotency-Key"] for _, _, headers in server.asked] == ["key-1"] * 3


def test_a_start_without_a_response_says_how_to_retry() -> None:
    with serving(Scripted(None)) as server, pytest.raises(Unreachable, match="--idempotency-key key-1"):
        start(server.api(), "/deployments/", "key-1")


def test_requests_without_a_key_are_not_retried() -> None:
    with serving(Scripted(BUSY)) as server, pytest.raises(Unavailable, match="database cannot be reached"):
        server.api().post("/deployments/7/cancel")
    assert len(server.asked) == 1


def test_retries_are_limited() -> None:
    with serving(Scripted(BUSY)) as server, pytest.raises(Unavailable):
        server.api().get("/services/")
    assert 1 < len(server.asked) < 20


def test_a_failed_connection_is_not_retried() -> None:
    with serving(Scripted(success([]))) as server:
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
def test_error_responses_become_messages(answer: Answer, kind: type[ClientError], text: str) -> None:
    with serving(Scripted(answer)) as server, pytest.raises(kind, match=text):
        server.api().get("/deployments/7")


def test_proxies_are_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(Scripted(success([]))) as server:
        assert server.api().get("/services/") == []


def test_a_url_without_tls_is_reported() -> None:
    with serving(Scripted(success([]))) as server, pytest.raises(NeverConnected, match="TLS connection to"):
        Transport(server.url.replace("http:", "https:")).send("GET", "/")


def test_invalid_text_is_reported_and_not_sent() -> None:
    with serving(Scripted(success({}))) as server, pytest.raises(UsageError, match="not valid text"):
        server.api().post("/deployments/", {"env": {"a": "\udcff"}}, key="key-1")


def test_requests_keep_the_path_prefix() -> None:
    with serving(Scripted(success([]))) as server:
        url = f"{server.url}/tools/deploy"
        Api(Transport(url), FixedToken("abc", url)).get("/deployments/", state="failure", user=None)
    assert server.asked[0][1] == "/tools/deploy/deployments/?state=failure"

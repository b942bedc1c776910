"""Hostile requests never get a 5xx response, and the OpenAPI document lists every response."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from deploy.entrypoints.fastapi_app import create_app
from tests.e2e.api import Api, answer
from tests.e2e.folders import Puppet, puppet
from tests.e2e.server import Server, temporary_folder
from tests.e2e.waiting import TIMEOUT

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]
FEW, MANY = 4, 12
# These would end deployments that other calls need, or sign out the caller.
EXCLUDED = {("PATCH /users/{user_id}", "1")} | {
    ("POST /deployments/{deployment_id}/cancel", number) for number in ("1", "2", "3")
}
TOO_LARGE = (1 << 20) + 1
HUGE = [2**63, 2**64, -1, 0, -(2**63), 10**30]
NUL = "a\x00b"


@pytest.fixture(scope="module")
def hostile_ground() -> Iterator[tuple[Server, list[Puppet]]]:
    """Yield a separate server with three waiting scripts.

    At the end, it must still work, and it must not have logged an unexpected error.
    """
    with temporary_folder() as folder, ExitStack() as stack:
        names = ("steps", "finish", "queue")
        puppets = [stack.enter_context(puppet(folder / "services", name)) for name in names]
        # The server stops before the scripts, so queued deployments never start.
        running = stack.enter_context(Server(folder))
        yield running, puppets
        assert running.is_ready()
        assert "Traceback" not in running.log_file.read_text()


@pytest.fixture(scope="module")
def target(hostile_ground: tuple[Server, list[Puppet]]) -> Server:
    return hostile_ground[0]


@pytest.fixture(scope="module")
def api(target: Server) -> Api:
    return target.api


@pytest.fixture(scope="module")
def tokens(hostile_ground: tuple[Server, list[Puppet]]) -> dict[str, str]:
    """Return a valid token for each operation that needs a token other than a user token."""
    server, puppets = hostile_ground
    for name in ("steps", "finish", "queue"):
        server.api.start(name)
    by_steps, by_finish = (waiting.config()["access_token"] for waiting in puppets[:2])
    return {
        "POST /deployments/": server.api.service_token("queue"),
        "POST /steps/": by_steps,
        # A separate token, because its deployment is finished after the first example.
        "PUT /deployments/finish/": by_finish,
        "GET /deployed-services/": server.api.config_token(),
    }


DOCUMENT = schemathesis.openapi.from_dict(create_app().openapi())


def examples(count: int) -> hypothesis.settings:
    """Return the settings of a test with this many examples, which are the same each time."""
    return hypothesis.settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@DOCUMENT.parametrize()
@examples(FEW)
def test_every_operation_responds_as_documented(
    case: "schemathesis.Case[Any]", target: Server, tokens: dict[str, str]
) -> None:
    check_response(case, target, tokens)


@pytest.mark.slow  # in the first tier: the test above
@DOCUMENT.parametrize()
@examples(MANY)
def test_every_operation_responds_to_many_requests_as_documented(
    case: "schemathesis.Case[Any]", target: Server, tokens: dict[str, str]
) -> None:
    check_response(case, target, tokens)


def check_response(case: "schemathesis.Case[Any]", target: Server, tokens: dict[str, str]) -> None:
    """Send a request, and check that the response is one of those in the OpenAPI document."""
    operation = f"{case.method} {case.path}"
    asked_for = next(iter(case.path_parameters.values()), None)
    hypothesis.assume((operation, str(asked_for)) not in EXCLUDED)
    token = tokens.get(operation) or target.api.token
    case.call_and_validate(target.base_url, headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)


# Larger, deeper, stranger


@pytest.mark.parametrize(
    "path", ["/token", "/session", "/service-token", "/deployments/", "/steps/", "/services/sync"]
)
def test_a_body_that_is_too_large_is_rejected(api: Api, path: str) -> None:
    rejected = api.anonymous.post(path, content=b" " * TOO_LARGE)
    assert (rejected.status_code, "larger" in rejected.json()["detail"]) == (413, True)


def test_a_large_body_without_content_length_is_rejected(api: Api, tokens: dict[str, str]) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"env": {"a": "'
        for _ in range(40):
            yield b"x" * (1 << 15)
        yield b'"}}'

    client = api.client(tokens["POST /deployments/"])
    rejected = client.post("/deployments/", content=body(), headers={"Content-Type": "application/json"})
    assert rejected.status_code == 413


def test_a_large_content_length_is_rejected_before_the_body(target: Server) -> None:
    with socket.create_connection(("127.0.0.1", target.port), timeout=TIMEOUT) as connection:
        connection.sendall(b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_of_the_maximum_size_is_accepted(api: Api, tokens: dict[str, str]) -> None:
    client = api.client(tokens["POST /deployments/"])
    text = "x" * (TOO_LARGE - 1000)
    assert answer(client.post("/deployments/", json={"env": {"a": text}}))["context"]["env"]["a"] == text


ENVIRONMENTS = {
    "NUL in a value": '{"env": {"a": "b\\u0000c"}}',
    "NUL in a name": '{"env": {"a\\u0000b": 1}}',
    "a lone surrogate": '{"env": {"a": "\\ud800"}}',
    "a lone surrogate in a name": '{"env": {"\\udc00": 1}}',
    "not a number": '{"env": {"a": NaN}}',
    "infinite": '{"env": {"a": Infinity}}',
    "beyond a double": '{"env": {"a": 1e999}}',
    "5 000 digits": '{"env": {"a": %s}}' % ("9" * 5000),
    "4 000 digits": '{"env": {"a": %s}}' % ("9" * 4000),
    "deep lists": '{"env": {"a": %s}}' % ("[" * 100_000 + "]" * 100_000),
    "less deep lists": '{"env": {"a": %s}}' % ("[" * 900 + "]" * 900),
    "deep objects": '{"env": %s}' % ('{"a":' * 50_000 + "1" + "}" * 50_000),
    "deep and broken": "[" * 500_000,
    "many names": json.dumps({"env": {str(number): number for number in range(1001)}}),
    "not JSON": "\ufffe",
}


@pytest.mark.parametrize("body", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_an_absurd_context_is_invalid_or_harmless(api: Api, tokens: dict[str, str], body: str) -> None:
    client = api.client(tokens["POST /deployments/"])
    response = client.post("/deployments/", content=body.encode(), headers={"Content-Type": "application/json"})
    assert response.status_code in {200, 422}, response.text[:1000]
    if response.status_code == 200:
        number = response.json()["id"]
        assert answer(api.admin.get(f"/deployments/{number}"))["context"] == json.loads(body)
        assert api.admin.get(f"/deployments/{number}/events").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/service-token", {"service": NUL, "origin": "ci"}),
        ("POST", "/service-token", {"service": "queue", "origin": NUL}),
        ("POST", "/config-token", {"origin": NUL}),
        ("POST", "/users/", {"name": NUL, "password": "long enough"}),
        ("POST", "/users/", {"name": "nul-password", "password": "long" + NUL * 5}),
        ("POST", "/users/me/password", {"current": NUL, "new": NUL * 5}),
        ("POST", "/session", {"username": NUL, "password": NUL}),
        ("POST", "/services/1/deployments", {"env": {}, "origin": NUL}),
        ("GET", "/deployments/?user=a%00b", None),
        ("GET", "/deployments/?origin=a%00b", None),
        ("GET", "/deployments/1/output?q=a%00b", None),
        ("GET", "/deployments/1/output?q=%25_%5C", None),
        ("GET", "/deployments/?user=%ff%fe", None),
        ("GET", "/deployments/%00", None),
        ("DELETE", "/tokens/a%00b", None),
        ("DELETE", "/tokens/%ff", None),
        ("GET", "/ui/a%00b", None),
        ("GET", "/ui/%ff", None),
        ("GET", "/ui/" + "x" * 5000, None),
        ("GET", "/ui/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd", None),
        ("GET", "/ui//etc/passwd", None),
        ("TRACE", "/token", None),
        ("NONSENSE", "/services/", None),
    ],
)
def test_odd_characters_are_harmless(api: Api, method: str, path: str, body: dict[str, Any] | None) -> None:
    response = api.admin.request(method, path, json=body)
    assert response.status_code < 500 or "not built" in response.text
    assert "root:" not in response.text


def test_nul_in_a_report_is_shown_escaped(api: Api, tokens: dict[str, str]) -> None:
    client = api.client(tokens["POST /steps/"])
    assert client.post("/steps/", json={"name": NUL, "message": NUL}).status_code in {200, 422}
    assert client.post("/token", data={"username": NUL, "password": NUL}).status_code in {401, 422, 429}


@pytest.mark.parametrize("number", HUGE)
def test_numbers_out_of_range_are_invalid_or_not_found(api: Api, number: int) -> None:
    for method, path in (
        ("GET", f"/deployments/{number}"),
        ("POST", f"/deployments/{number}/cancel"),
        ("GET", f"/deployments/{number}/events"),
        ("GET", f"/deployments/1/events?after={number}"),
        ("GET", f"/deployments/1/output?after={number}&limit={number}"),
        ("GET", f"/deployments/?limit={number}&before={number}"),
        ("GET", f"/deployments/?service_id={number}"),
        ("GET", f"/steps/?deployment_id={number}"),
        ("GET", f"/tokens/?service_id={number}"),
        ("GET", f"/services/{number}"),
        ("DELETE", f"/services/{number}"),
        ("PATCH", f"/users/{number}"),
    ):
        assert api.admin.request(method, path, json={}).status_code in {200, 404, 422}, path
    body = {"service": "queue", "origin": "ci", "expiration_in_days": number}
    assert api.admin.post("/service-token", json=body).status_code == 422


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": b"Bearer \xff\xfe"},
        {"Authorization": b"Bearer " + b"x" * 30_000},
        {"Authorization": b"Bearer a b c"},
        {"Idempotency-Key": b"\xff" * 100},
        {"Idempotency-Key": b"x" * 300},
        {"Content-Type": b"multipart/form-data; boundary=x"},
        {"Content-Type": b"\xff"},
        {"Cookie": b"fastdeploy_session=\xff\x01"},
        {"Host": b"a b"},
    ],
    ids=str,
)
def test_odd_headers_are_harmless(api: Api, tokens: dict[str, str], headers: dict[str, bytes]) -> None:
    encoded = [(name.encode(), value) for name, value in headers.items()]
    for path in ("/deployments/", "/token", "/session", "/session/refresh", "/steps/"):
        response = api.client(tokens["POST /deployments/"]).post(path, content=b"--x\r\n", headers=encoded)
        assert response.status_code < 500, path


def test_two_content_lengths_are_rejected(target: Server, api: Api) -> None:
    """Two bodies on one connection, as in request smuggling."""
    request = (
        b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        b"GET /users/me HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", target.port), timeout=TIMEOUT) as connection:
        connection.sendall(request)
        assert b" 400 " in connection.recv(100)
    assert target.is_ready()

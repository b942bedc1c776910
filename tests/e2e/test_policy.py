"""Access is denied by default: every route answers every kind of credential exactly as documented.

The tests are generated from the routes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import httpx2
import pytest
from fastapi import APIRouter, FastAPI

from deploy.adapters.tokens import TokenSigner
from deploy.domain.policy import FOR_ADMINISTRATORS, KINDS, Action, TokenType
from deploy.entrypoints.fastapi_app import create_app
from tests.e2e.api import Api, answer
from tests.e2e.folders import shell
from tests.e2e.jwts import claims_of, forged
from tests.e2e.live import Live
from tests.e2e.server import Server
from tests.routes import NUMBER, QUERIES, Rule, rules_of

# Routes that do not need a credential. Think twice before adding one.
OPEN = {
    ("POST", "/token"),
    ("POST", "/session"),
    ("POST", "/session/refresh"),
    ("DELETE", "/session"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/"),
    ("GET", "/ui/{path:path}"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
}
NOBODY, INVALID = "Not authenticated", "Could not validate credentials"


def unguarded(rules: Sequence[Rule]) -> set[tuple[str, str]]:
    """Return the routes that do not require an action and are not known to be open."""
    known = {(method, path.rstrip("/") or "/") for method, path in OPEN}
    return {rule.without_slash for rule in rules if rule.action is None} - known


RULES = rules_of(create_app().routes)
GUARDED = [rule for rule in RULES if rule.action is not None]
READERS = [rule for rule in GUARDED if rule.action is Action.READ_DEPLOYMENT]


@dataclass(frozen=True)
class Credential:
    """A token. `kind` is None if it must be rejected."""

    token: str
    kind: TokenType | None = None
    is_admin: bool = False


@pytest.fixture(scope="module")
def credentials(server: Server) -> Iterator[dict[str, Credential]]:
    """Yield every kind of credential: valid ones, and the same ones expired, revoked, or forged."""
    api = server.api
    with server.puppet() as (name, puppet):
        started = api.start(name)
        service = server.add_service(shell("true"))
        user = server.new_name("user")
        api.create_user(user, "the password")
        good = {
            "administrator": Credential(api.sign_in(api.user, api.password), TokenType.USER, is_admin=True),
            "user": Credential(api.sign_in(user, "the password"), TokenType.USER),
            "service": Credential(api.service_token(service), TokenType.SERVICE),
            "deployment": Credential(puppet.config()["access_token"], TokenType.DEPLOYMENT),
            "config": Credential(api.config_token(), TokenType.CONFIG),
        }
        yield good | invalid_credentials(server, good, service)
        puppet.exit()
        api.wait_until_final(started["id"])


def invalid_credentials(server: Server, good: dict[str, Credential], service: str) -> dict[str, Credential]:
    signer = TokenSigner((server.data_dir / "secret-key").read_text().strip())
    other_signer, now = TokenSigner("another key"), datetime.now(timezone.utc)
    bad = {"garbage": "garbage", "empty": '""', "revoked": revoked(server, service), "disabled": disabled(server)}
    for name, credential in good.items():
        claims = claims_of(credential.token)
        own = {"iss", "aud", "sub", "jti", "iat", "exp"}
        extra = {key: value for key, value in claims.items() if key not in own}
        kind, subject, token_id = claims["aud"].split(":")[1], claims["sub"], claims["jti"]
        day = timedelta(days=1)
        bad |= {
            f"expired {name}": signer.sign(kind, subject, now=now - 2 * day, lifetime=day, token_id=token_id, **extra),
            f"{name} by another key": other_signer.sign(
                kind, subject, now=now, lifetime=day, token_id=token_id, **extra
            ),
            f"unsigned {name}": forged(claims, key=b"", algorithm="none"),
        }
    # Signed with our key, but without a user or a record.
    bad["user that does not exist"] = signer.sign("user", str(NUMBER), now=now, lifetime=timedelta(days=1), epoch=0)
    bad["unrecorded service"] = signer.sign("service", service, now=now, lifetime=timedelta(days=1))
    bad["unrecorded config"] = signer.sign("config", "config", now=now, lifetime=timedelta(days=1))
    bad["unknown kind"] = signer.sign("root", "1", now=now, lifetime=timedelta(days=1))
    return {name: Credential(token) for name, token in bad.items()}


def revoked(server: Server, service: str) -> str:
    # The fixture can run more than once on the same server.
    origin = server.new_name("revoked")
    token = server.api.service_token(service, origin=origin)
    (record,) = [record for record in answer(server.api.admin.get("/tokens/")) if record["origin"] == origin]
    assert server.api.admin.delete(f"/tokens/{record['id']}").status_code == 204
    return token


def disabled(server: Server) -> str:
    user = server.api.create_user(server.new_name("user"), "the password")
    token = server.api.sign_in(user["name"], "the password")
    assert server.api.admin.patch(f"/users/{user['id']}", json={"is_active": False}).is_success
    return token


def status_and_detail(response: httpx2.Response) -> tuple[int, object]:
    return response.status_code, response.json()["detail"] if response.content else None


@pytest.mark.parametrize("rule", GUARDED, ids=str)
def test_paths_with_and_without_a_trailing_slash_are_the_same_route(api: Api, rule: Rule) -> None:
    other = rule.path[:-1] if rule.path.endswith("/") else f"{rule.path}/"
    for client in (api.anonymous, api.admin) if rule.method == "GET" else (api.anonymous,):
        answers = [replace(rule, path=path).request(client) for path in (rule.path, other)]
        assert len({(answer.status_code, answer.text) for answer in answers}) == 1


def test_every_route_requires_an_action_or_is_known_to_be_open() -> None:
    assert unguarded(RULES) == set()
    assert {rule.without_slash for rule in RULES} >= {(method, path.rstrip("/") or "/") for method, path in OPEN}
    assert len(GUARDED) > 35


def test_a_route_without_a_rule_is_detected() -> None:
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter()
    router.add_api_route("/secrets", lambda: None)
    app.include_router(router)
    app.mount("/files", FastAPI())
    assert unguarded(rules_of(app.routes)) == {("GET", "/secrets"), ("ANY", "/files")}


def test_every_action_lists_its_token_types() -> None:
    assert set(KINDS) == set(Action)
    # OPERATE is only for the system, and signing in starts a session.
    assert {rule.action for rule in GUARDED} == set(Action) - {Action.OPERATE, Action.START_OWN_SESSION}


@pytest.mark.parametrize("rule", GUARDED, ids=lambda rule: f"{rule.method} {rule.path}")
def test_each_credential_gets_the_documented_response(
    api: Api, credentials: dict[str, Credential], rule: Rule
) -> None:
    assert rule.action is not None
    assert status_and_detail(rule.request(api.anonymous)) == (401, NOBODY)
    for name, credential in credentials.items():
        response = rule.request(api.client(credential.token))
        if credential.kind not in KINDS[rule.action]:
            assert status_and_detail(response) == (401, INVALID), name
            assert response.headers["WWW-Authenticate"] == "Bearer"
        elif rule.action in FOR_ADMINISTRATORS and not credential.is_admin:
            assert status_and_detail(response) == (403, "Only administrators can do this."), name
        else:
            assert response.status_code in rule.documented - {401, 403}, (name, response.text)


@pytest.mark.parametrize("rule", READERS, ids=lambda rule: f"{rule.method} {rule.path}")
def test_a_service_token_reads_only_deployments_of_its_service(server: Server, api: Api, rule: Rule) -> None:
    own_deployment, foreign = server.add_service(shell("true")), server.add_service(shell("true"))
    client = api.client(api.service_token(own_deployment))
    expected = 404 if rule.path in QUERIES else 200  # the deployment exists, but not what the query asks for
    assert rule.request(client, deployment_id=api.run(own_deployment)["id"]).status_code == expected
    assert status_and_detail(rule.request(client, deployment_id=api.run(foreign)["id"])) == (
        403,
        "Wrong service token",
    )


def test_the_websocket_follows_the_same_rules(api: Api, credentials: dict[str, Credential]) -> None:
    for name, credential in credentials.items():
        with Live(api.base_url) as live:
            reply = live.sign_in(credential.token)
            if credential.kind in KINDS[Action.LIST_DEPLOYMENTS]:
                assert reply["status"] == "success", name
            else:
                assert (reply["status"], reply["detail"]) == ("failure", INVALID), name
                live.subscribe(1)
                assert live.wait_for_count("authentication", 2)["status"] == "failure"
                assert live.messages == live.of_type("authentication")


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.action is None], ids=lambda rule: rule.path)
def test_open_routes_ignore_credentials(api: Api, credentials: dict[str, Credential], rule: Rule) -> None:
    answers = {rule.request(api.client(token)).status_code for token in (None, "garbage", credentials["config"].token)}
    assert len(answers) == 1
    # Refreshing a session requires its cookie. 503: the page is not built.
    assert answers <= rule.documented | {307, 503} | ({401} if "refresh" in rule.path else set())

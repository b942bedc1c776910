"""Deny by default, generated from the routes: each of them, with each kind of proof, gives exactly the documented answer."""

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
from tests.routes import NUMBER, Rule, rules_of

# What anybody may ask. Whoever adds a route here has thought about it.
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
    """The routes that name no action and are not among those known to be open."""
    known = {(method, path.rstrip("/") or "/") for method, path in OPEN}
    return {rule.spelled for rule in rules if rule.action is None} - known


RULES = rules_of(create_app().routes)
GUARDED = [rule for rule in RULES if rule.action is not None]
READERS = [rule for rule in GUARDED if rule.action is Action.READ_DEPLOYMENT]


@dataclass(frozen=True)
class Proof:
    """A token, of which kind it is, and whether it counts."""

    token: str
    kind: TokenType | None = None
    is_admin: bool = False


@pytest.fixture(scope="module")
def proofs(server: Server) -> Iterator[dict[str, Proof]]:
    """Every kind of proof: good ones, and the same that do not count any more or never did."""
    api = server.api
    with server.puppet() as (name, puppet):
        started = api.start(name)
        service = server.add_service(shell("true"))
        user = server.new_name("user")
        api.create_user(user, "his password")
        good = {
            "administrator": Proof(api.sign_in(api.user, api.password), TokenType.USER, is_admin=True),
            "user": Proof(api.sign_in(user, "his password"), TokenType.USER),
            "service": Proof(api.service_token(service), TokenType.SERVICE),
            "deployment": Proof(puppet.config()["access_token"], TokenType.DEPLOYMENT),
            "config": Proof(api.config_token(), TokenType.CONFIG),
        }
        yield good | bad_proofs(server, good, service)
        puppet.exit()
        api.wait_until_final(started["id"])


def bad_proofs(server: Server, good: dict[str, Proof], service: str) -> dict[str, Proof]:
    signer = TokenSigner((server.data_dir / "secret-key").read_text().strip())
    other_signer, now = TokenSigner("another key"), datetime.now(timezone.utc)
    bad = {"garbage": "garbage", "empty": '""', "revoked": revoked(server, service), "disabled": disabled(server)}
    for name, proof in good.items():
        claims = claims_of(proof.token)
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
    # Signed by us, but of nobody.
    bad["user who never was"] = signer.sign("user", str(NUMBER), now=now, lifetime=timedelta(days=1), epoch=0)
    bad["unrecorded service"] = signer.sign("service", service, now=now, lifetime=timedelta(days=1))
    bad["unrecorded config"] = signer.sign("config", "config", now=now, lifetime=timedelta(days=1))
    bad["unknown kind"] = signer.sign("root", "1", now=now, lifetime=timedelta(days=1))
    return {name: Proof(token) for name, token in bad.items()}


def revoked(server: Server, service: str) -> str:
    # The fixture may run more than once on the same server.
    origin = server.new_name("revoked")
    token = server.api.service_token(service, origin=origin)
    (record,) = [record for record in answer(server.api.admin.get("/tokens/")) if record["origin"] == origin]
    assert server.api.admin.delete(f"/tokens/{record['id']}").status_code == 204
    return token


def disabled(server: Server) -> str:
    user = server.api.create_user(server.new_name("user"), "his password")
    token = server.api.sign_in(user["name"], "his password")
    assert server.api.admin.patch(f"/users/{user['id']}", json={"is_active": False}).is_success
    return token


def said(response: httpx2.Response) -> tuple[int, object]:
    return response.status_code, response.json()["detail"] if response.content else None


@pytest.mark.parametrize("rule", GUARDED, ids=str)
def test_the_other_spelling_is_the_same_route(api: Api, rule: Rule) -> None:
    other = rule.path[:-1] if rule.path.endswith("/") else f"{rule.path}/"
    for client in (api.anonymous, api.admin) if rule.method == "GET" else (api.anonymous,):
        answers = [replace(rule, path=path).request(client) for path in (rule.path, other)]
        assert len({(answer.status_code, answer.text) for answer in answers}) == 1


def test_every_route_requires_an_action_or_is_known_to_be_open() -> None:
    assert unguarded(RULES) == set()
    assert {rule.spelled for rule in RULES} >= {(method, path.rstrip("/") or "/") for method, path in OPEN}
    assert len(GUARDED) > 35


def test_a_route_without_a_rule_would_be_noticed() -> None:
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter()
    router.add_api_route("/secrets", lambda: None)
    app.include_router(router)
    app.mount("/files", FastAPI())
    assert unguarded(rules_of(app.routes)) == {("GET", "/secrets"), ("ANY", "/files")}


def test_every_action_has_its_kinds() -> None:
    assert set(KINDS) == set(Action)
    assert {rule.action for rule in GUARDED} == set(Action)


@pytest.mark.parametrize("rule", GUARDED, ids=lambda rule: f"{rule.method} {rule.path}")
def test_each_proof_gets_the_documented_answer(api: Api, proofs: dict[str, Proof], rule: Rule) -> None:
    assert rule.action is not None
    assert said(rule.request(api.anonymous)) == (401, NOBODY)
    for name, proof in proofs.items():
        response = rule.request(api.client(proof.token))
        if proof.kind not in KINDS[rule.action]:
            assert said(response) == (401, INVALID), name
            assert response.headers["WWW-Authenticate"] == "Bearer"
        elif rule.action in FOR_ADMINISTRATORS and not proof.is_admin:
            assert said(response) == (403, "Only administrators can do this."), name
        else:
            assert response.status_code in rule.documented - {401, 403}, (name, response.text)


@pytest.mark.parametrize("rule", READERS, ids=lambda rule: f"{rule.method} {rule.path}")
def test_a_service_reads_its_own_deployments_only(server: Server, api: Api, rule: Rule) -> None:
    mine, foreign = server.add_service(shell("true")), server.add_service(shell("true"))
    client = api.client(api.service_token(mine))
    assert rule.request(client, deployment_id=api.run(mine)["id"]).status_code == 200
    assert said(rule.request(client, deployment_id=api.run(foreign)["id"])) == (403, "Wrong service token")


def test_the_websocket_has_the_same_rules(api: Api, proofs: dict[str, Proof]) -> None:
    for name, proof in proofs.items():
        with Live(api.base_url) as live:
            answered = live.sign_in(proof.token)
            if proof.kind in KINDS[Action.LIST_DEPLOYMENTS]:
                assert answered["status"] == "success", name
            else:
                assert (answered["status"], answered["detail"]) == ("failure", INVALID), name
                live.subscribe(1)
                assert live.wait_for_count("authentication", 2)["status"] == "failure"
                assert live.messages == live.of_type("authentication")


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.action is None], ids=lambda rule: rule.path)
def test_what_is_open_needs_no_proof_and_minds_none(api: Api, proofs: dict[str, Proof], rule: Rule) -> None:
    answers = {rule.request(api.client(token)).status_code for token in (None, "garbage", proofs["config"].token)}
    assert len(answers) == 1
    # Refreshing a session takes its cookie. 503: the page is not built.
    assert answers <= rule.documented | {307, 503} | ({401} if "refresh" in rule.path else set())

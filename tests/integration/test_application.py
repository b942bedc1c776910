"""Run the application under another web server: `uvicorn deploy.entrypoints.fastapi_app:app`."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from uvicorn.importer import ImportFromStringError, import_from_string

from deploy.adapters.database import Database
from deploy.adapters.tokens import BUSY, THREADS, WAITING, KeyedHash, Passwords
from deploy.config import ConfigurationError, Settings
from deploy.domain.commands import CreateUser, RegisterConfigToken, RevokeToken
from deploy.domain.errors import NotSignedIn
from deploy.domain.events import UserCreated
from deploy.domain.policy import WORKER, TokenType
from deploy.domain.rights import EVERYTHING
from deploy.entrypoints.app_state import AppState, create_app_state
from deploy.entrypoints.fastapi_app import create_app
from deploy.entrypoints.serve.startup import finish_sync, prepare_database
from deploy.service_layer.clock import utc_now
from deploy.service_layer.sign_in import SignIn
from deploy.service_layer.users import Accounts
from tests.databases import Databases
from tests.hashing import observed_passwords

HOUR = timedelta(hours=1)
TIMEOUT = 60.0


def with_passwords(services: AppState, passwords: Passwords) -> AppState:
    """Return the app state with these passwords."""
    sign_in = SignIn(
        services.open_unit_of_work, services.bus, passwords, services.signer, KeyedHash("k"), services.now
    )
    accounts = Accounts(services.open_unit_of_work, services.bus, passwords)
    return replace(services, accounts=accounts, sign_in=sign_in)


@pytest.fixture
def settings(database_url: str, services_root: Path, tmp_path: Path) -> Settings:
    return Settings(
        database_url=database_url,
        secret_key=SecretStr("0123456789abcdef" * 4),
        services_root=services_root,
        data_dir=tmp_path / "data",
        initial_user_name="ada",
        initial_user_password=None,
    )


async def test_the_first_users_password_is_shown_once(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        shown = capsys.readouterr().out
        (line,) = [line for line in shown.splitlines() if "Password:" in line]
        form = {"username": "ada", "password": line.split()[-1]}
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
            assert (await client.post("/token", data=form)).status_code == 200
    async with app.router.lifespan_context(app):
        shown = capsys.readouterr().out
    assert "Password:" not in shown
    assert form["password"] not in shown
    assert "user passwd ada" in shown


async def test_revoked_rights_are_gone_before_the_response(settings: Settings) -> None:
    # No process listens for notifications here.
    services = create_app_state(settings, settings.database_url)
    try:
        now = utc_now()
        registered = RegisterConfigToken(token_id="t1", origin="ci", expires=now + HOUR, user_id=None)
        await services.bus.handle(registered, by=WORKER)
        token = services.signer.sign(TokenType.CONFIG.value, "x", now=now, lifetime=HOUR, token_id="t1")
        assert (await services.authenticator.authenticate(token, frozenset(TokenType))).origin == "ci"
        await services.bus.handle(RevokeToken(token_id="t1"), by=WORKER)
        with pytest.raises(NotSignedIn):
            await services.authenticator.authenticate(token, frozenset(TokenType))
    finally:
        await services.database.close()


async def test_every_route_that_hashes_a_password_fails_while_the_queue_is_full(settings: Settings) -> None:
    passwords, hashing = observed_passwords()
    services = with_passwords(create_app_state(settings, settings.database_url), passwords)
    app = create_app(settings, ready=services)
    secret = "correct horse battery"
    created = await services.bus.handle(CreateUser(name="ada", password_hash=passwords.hash_now(secret)), by=WORKER)
    user_id = next(event.user_id for event in created if isinstance(event, UserCreated))
    sign_in = {"username": "ada", "password": secret}
    try:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
            token = (await client.post("/token", data=sign_in)).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            requests: list[tuple[str, str, dict[str, Any]]] = [
                ("POST", "/token", {"data": sign_in}),
                ("POST", "/session", {"json": sign_in}),
                ("POST", "/users/", {"json": {"name": "bob", "password": secret}}),
                ("PATCH", f"/users/{user_id}", {"json": {"password": "another password"}}),
                ("POST", "/users/me/password", {"json": {"current": secret, "new": "another password"}}),
            ]
            hashing.close()
            waiting = [asyncio.ensure_future(passwords.hash("a password")) for _ in range(THREADS + WAITING)]
            await asyncio.sleep(0)
            for method, path, body in requests:
                # A request that waits for the queue would never get a response.
                response = await asyncio.wait_for(client.request(method, path, **body), TIMEOUT)
                assert (response.status_code, response.json()) == (503, {"detail": BUSY}), path
                assert int(response.headers["Retry-After"]) > 0
            hashing.open()
            await asyncio.gather(*waiting)
            # Nothing changed.
            assert (await client.post("/token", data=sign_in)).status_code == 200
            assert [user["name"] for user in (await client.get("/users/")).json()] == ["ada"]
    finally:
        await services.database.close()


def test_rate_limits_are_in_the_openapi_document(settings: Settings) -> None:
    paths = create_app(settings).openapi()["paths"]
    for path in ("/token", "/session", "/users/me/password"):
        assert {"429", "503"} <= paths[path]["post"]["responses"].keys()
        for status in ("429", "503"):
            assert "Retry-After" in paths[path]["post"]["responses"][status]["headers"]
    for path, method in (("/users/", "post"), ("/users/{user_id}", "patch")):
        assert "503" in paths[path][method]["responses"]


def test_the_openapi_document_describes_both_forms_of_invalid_requests(settings: Settings) -> None:
    app = create_app(settings)
    for document in (app.openapi(), app.openapi()):
        schemas = document["components"]["schemas"]
        kinds = [form["type"] for form in schemas["HTTPValidationError"]["properties"]["detail"]["anyOf"]]
        assert kinds == ["string", "array"]
        assert set(schemas["ValidationError"]["properties"]) == {"loc", "msg", "type"}


async def test_responses_are_not_cached_and_links_do_not_follow_the_host(settings: Settings) -> None:
    (settings.services_root / "shop").mkdir()
    (settings.services_root / "shop" / "config.json").write_text("{}")
    (settings.services_root / "shop" / "deploy.sh").write_text("#!/bin/sh\n")
    secret = SecretStr("correct horse battery")
    app = create_app(settings.model_copy(update={"initial_user_password": secret}))
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test:81") as client:
            form = {"username": "ada", "password": secret.get_secret_value()}
            signed_in = await client.post("/token", data=form)
            client.headers["Authorization"] = f"Bearer {signed_in.json()['access_token']}"
            services = await client.get("/services/")
            (service,) = services.json()
            page = await client.get("/ui/")
            for response in (signed_in, services, await client.get("/deployments/999")):
                assert response.headers.get_list("Cache-Control") == ["no-store"]
            assert page.headers.get_list("Cache-Control") != []

            async def details() -> str:
                path = f"/services/{service['id']}/deployments"
                started = (await client.post(path, headers={"Host": "evil.example"})).json()
                return str(started["details"]).removesuffix(f"/deployments/{started['id']}")

            assert await details() == "http://test:81"
            app.state.app_state.settings.api_url = "https://internal.example/"
            assert await details() == "https://internal.example"
            app.state.app_state.settings.public_url = "https://deploy.example"
            assert await details() == "https://deploy.example"


async def test_without_a_database_the_error_names_the_setting(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"database_url": ""}))
    with pytest.raises(ConfigurationError, match="DATABASE_URL is missing"):
        async with app.router.lifespan_context(app):
            pass


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgres://db/app", "must start with"),
        ("postgresql+asyncpg://db:port/app", "is invalid"),
        ("postgresql+asyncpg://ada:s3cret@127.0.0.1/app?sslmode=perhaps", "is invalid .*sslmode"),
    ],
)
async def test_an_invalid_database_url_is_reported(settings: Settings, url: str, why: str) -> None:
    app = create_app(settings.model_copy(update={"database_url": url}))
    with pytest.raises(ConfigurationError, match=f"^(The database|DATABASE_URL).*{why}") as raised:
        async with app.router.lifespan_context(app):
            pass
    assert "s3cret" not in str(raised.value)


async def test_a_database_user_without_rights_is_reported(settings: Settings, databases: Databases) -> None:
    role = f"ada_{uuid.uuid4().hex}"
    async with databases.empty() as url:
        owner = Database(url)
        async with owner.connection() as connection:
            await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 's3cret'")
        theirs = urlsplit(url)._replace(netloc=f"{role}:s3cret@").geturl()
        app = create_app(settings.model_copy(update={"database_url": theirs}))
        with pytest.raises(
            ConfigurationError, match=r"cannot be used: permission denied .* Check DATABASE_URL"
        ) as raised:
            async with app.router.lifespan_context(app):
                pass
        assert "s3cret" not in str(raised.value)
        async with owner.connection() as connection:
            await connection.execute(f"DROP ROLE {role}")
        await owner.close()


def test_the_app_is_found_by_its_name_only() -> None:
    assert isinstance(import_from_string("deploy.entrypoints.fastapi_app:app"), FastAPI)
    with pytest.raises(ImportFromStringError, match="application"):
        import_from_string("deploy.entrypoints.fastapi_app:application")


async def test_a_start_does_not_wait_for_folders_that_take_long(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (settings.services_root / "shop").mkdir()
    (settings.services_root / "shop" / "config.json").write_text("{}")
    (settings.services_root / "shop" / "deploy.sh").write_text("#!/bin/sh\n")
    monkeypatch.setattr("deploy.entrypoints.serve.startup.SYNC_SECONDS", 0)
    services = create_app_state(settings, settings.database_url)
    try:
        syncing = await prepare_database(services)
        assert not syncing.done()
        assert "The server starts with the services it already knows" in caplog.text
        await finish_sync(syncing)
        async with services.open_unit_of_work() as uow:
            assert [service.name for service in await uow.services.list(visible=EVERYTHING)] == ["shop"]
    finally:
        await services.database.close()

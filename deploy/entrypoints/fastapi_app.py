"""The web application: `create_app(settings)`, and `app` for `uvicorn deploy.entrypoints.fastapi_app:app`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from deploy.config import Settings, SettingsError
from deploy.entrypoints import errors
from deploy.entrypoints.app_state import AppState, create_app_state, running
from deploy.entrypoints.middleware import RetryReads, Safety
from deploy.entrypoints.routers import (
    access,
    deployments,
    history,
    hosts,
    inputs,
    live,
    operations,
    output,
    page,
    queue,
    services,
    sessions,
    sign_in,
    tokens,
    users,
)
from deploy.entrypoints.routing import HeadAsGet, answer_both_spellings, describe_errors
from deploy.entrypoints.serve.background import background
from deploy.entrypoints.serve.first_user import prepare_first_user, show_first_steps
from deploy.entrypoints.serve.settings import load_settings
from deploy.entrypoints.serve.start_errors import StartErrors
from deploy.entrypoints.serve.startup import finish_sync, prepare_database

MODULES = (
    sessions,
    sign_in,
    users,
    access,
    services,
    inputs,
    history,
    tokens,
    output,
    hosts,
    deployments,
    queue,
    operations,
    live,
    page,
)
DESCRIPTION = "Start deployments, watch them live, and read their output. Sign in with `POST /token`."


def create_app(settings: Settings | None = None, *, ready: AppState | None = None) -> FastAPI:
    """Return the application.

    With `ready`, the caller (the `serve` command) also runs this application state. Otherwise, the application
    connects to DATABASE_URL and upgrades the schema when it starts.

    Raises:
        SettingsError: A setting is missing (raised at startup).
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if ready is None:
                app.state.app_state = await stack.enter_async_context(_own_state(settings or load_settings()))
            yield

    app = FastAPI(
        title="fastDeploy",
        version=version("fastdeploy-server"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    if ready is not None:
        app.state.app_state = ready
    errors.install(app)
    for module in MODULES:
        # Not `include_router`, which would build each route again on the first request.
        app.router.routes.extend(module.router.routes)
    answer_both_spellings(app)
    describe_errors(app)
    app.add_middleware(RetryReads)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Safety)
    if ready is None:
        app.add_middleware(StartErrors)
    return app


@asynccontextmanager
async def _own_state(settings: Settings) -> AsyncIterator[AppState]:
    if settings.is_embedded:
        raise SettingsError(
            "DATABASE_URL is missing. Set it, or use `fastdeploy serve`, which includes a PostgreSQL server."
        )
    state = create_app_state(settings, settings.database_url)
    syncing = await prepare_database(state)
    async with running(state), background(finish_sync(syncing)):
        # Print this last, and do not log it, because logs are stored.
        show_first_steps(await prepare_first_user(state))
        yield state


def __getattr__(name: str) -> FastAPI:
    """Create `app` only when it is accessed: `serve` imports this module but creates its own application."""
    if name == "app":
        return create_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

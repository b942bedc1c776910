"""Start up: wait for the database, upgrade its schema, and sync the services."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.adapters import migrations
from deploy.adapters.database import DATABASE_ERRORS, is_away, without_password
from deploy.adapters.filesystem import FolderProblem
from deploy.adapters.inputs.check import load as load_check
from deploy.adapters.tokens import load as load_tokens
from deploy.config import GOOD_KEY_LENGTH, MAKE_KEY, ConfigurationError, Settings, SettingsError
from deploy.domain.policy import SERVER
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.serve.memory import collect_from_now_on
from deploy.entrypoints.serve.pools import OTHER_PROGRAMS, needed_by
from deploy.service_layer.services import accepted_inputs, sync_services

log = logging.getLogger(__name__)

# Seconds. Longer than the interval in which service managers count failed starts before they give up.
DATABASE_TIMEOUT, RETRY_EVERY = 15.0, 0.5
LOAD_DELAY = 0.5
SYNC_SECONDS = 5.0


async def prepare_database(state: AppState) -> asyncio.Task[None]:
    """Upgrade the schema and start syncing the services. Return the sync task for `finish_sync` to await.

    A sync that takes longer than SYNC_SECONDS does not delay startup.

    Raises:
        ConfigurationError: The database cannot be used.
    """
    warn_of_short_key(state.settings)
    await wait_for_database(state)
    await upgrade_schema(state)
    syncing = asyncio.create_task(_sync(state))
    await asyncio.wait([syncing], timeout=SYNC_SECONDS)
    if syncing.done():
        await syncing
    else:
        log.warning("Reading the service folders takes long. The server starts with the services it already knows.")
    return syncing


async def finish_sync(syncing: asyncio.Task[None]) -> None:
    """Wait for a sync that continues after startup. Log its failure."""
    try:
        await syncing
    except ConfigurationError as error:
        log.error("Failed to sync the services: %s", error)  # noqa: TRY400 - the message is complete


async def _sync(state: AppState) -> None:
    with explained(state):
        _, problems = await sync_services(
            state.folders,
            state.bus,
            state.open_unit_of_work,
            by=SERVER,
            accepted=await accepted_inputs(state.open_unit_of_work),
        )
    report(problems)


async def finish_loading(state: AppState, answering: asyncio.Event) -> None:
    """Import modules that the first requests would wait for, then enable garbage collection.

    Call this after the server has started.
    """
    await answering.wait()
    # Clients that waited for the start are sending requests now, and imports would slow these down.
    await asyncio.sleep(LOAD_DELAY)
    await asyncio.to_thread(load_tokens)
    with contextlib.suppress(*DATABASE_ERRORS):
        if any((await accepted_inputs(state.open_unit_of_work)).values()):
            await asyncio.to_thread(load_check)
    collect_from_now_on()


async def wait_for_database(state: AppState) -> None:
    """Wait up to 15 s for a database that is still starting, for example after a reboot. Later steps report errors."""
    deadline = time.monotonic() + DATABASE_TIMEOUT
    while time.monotonic() < deadline:
        try:
            async with state.database.connection():
                return
        except DATABASE_ERRORS as error:
            if not is_away(error):
                return
            log.warning("Waiting for the database: %s", error)
        await asyncio.sleep(RETRY_EVERY)


async def upgrade_schema(state: AppState) -> None:
    """Upgrade the database schema.

    Raises:
        ConfigurationError: The database cannot be reached, refuses access, or has a newer schema.
    """
    with explained(state):
        revision = await migrations.current(state.database)
        if revision is not None and revision > migrations.head():
            raise ConfigurationError(
                f"The database was upgraded by a newer version of fastDeploy (revision {revision}; this version knows "
                f"{migrations.head()}). Install the newer version, or restore an older backup."
            )
        await migrations.upgrade(state.database)


async def warn_of_too_few_connections(state: AppState, processes: int) -> None:
    """Log a warning if PostgreSQL does not allow as many connections as these processes can open.

    It is not an error, because pools only open connections when they need them.
    """
    try:
        async with state.database.connection() as connection:
            limit, used = await connection.fetchrow(
                "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int, "
                "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())"
            )
    except DATABASE_ERRORS:
        return
    if used + needed_by(processes) > limit:
        log.warning(
            "PostgreSQL allows %d connections, of which other programs use %d. This process needs up to %d. When they run "
            "out, requests fail with status 503. Set max_connections to at least %d, or use fewer --workers.",
            limit,
            used,
            needed_by(processes),
            used + needed_by(processes) + OTHER_PROGRAMS,
        )


@contextmanager
def explained(state: AppState) -> Iterator[None]:
    """Convert database errors to a ConfigurationError.

    Raises:
        SettingsError: An option in DATABASE_URL has an invalid value.
        ConfigurationError: The database cannot be reached or refuses a statement.
    """
    try:
        yield
    except DATABASE_ERRORS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        address = without_password(state.database.url)
        if isinstance(error, ValueError):  # the driver's error for options that it does not understand
            raise SettingsError(f"DATABASE_URL is invalid ({reason}): {address}") from error
        raise ConfigurationError(
            f"The database at {address} cannot be used: {reason}. Check DATABASE_URL, and that the server is running."
        ) from error


def warn_of_short_key(settings: Settings) -> None:
    """Log a warning if SECRET_KEY is short. It is not an error, because earlier versions accepted any key."""
    key = settings.secret_key.get_secret_value() if settings.secret_key is not None else ""
    if key and len(key) < GOOD_KEY_LENGTH:
        log.warning(
            "SECRET_KEY has only %d characters: anyone with a token could guess the key and forge tokens. "
            "Replace it with the output of: %s",
            len(key),
            MAKE_KEY,
        )


def report(problems: list[FolderProblem]) -> None:
    """Log folder problems."""
    for problem in problems:
        log.warning("%s", problem_text(problem))


def problem_text(problem: FolderProblem) -> str:
    """Return a folder problem as one line: the folder and file (if any), and the reason."""
    place = "/".join(filter(None, [problem.folder, problem.file]))
    return f"{place}: {problem.reason}" if place else problem.reason

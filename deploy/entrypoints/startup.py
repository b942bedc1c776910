"""What has to be true before the first request: schema, first user, services."""

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
from deploy.config import GOOD_KEY_LENGTH, MAKE_KEY, ConfigurationError, Settings
from deploy.entrypoints.memory import collect_from_now_on
from deploy.entrypoints.routers.services import accepted_inputs, sync_services
from deploy.entrypoints.state import Services

log = logging.getLogger(__name__)

# Seconds. Longer than service managers count quick failures before they give up.
PATIENCE, LOOK_EVERY = 15.0, 0.5
FIRST_REQUESTS = 0.5
SYNC_SECONDS = 5.0


async def prepare_database(services: Services) -> asyncio.Task[None]:
    """Bring the schema up to date and sync the services; return the sync, to be finished by `finish_sync`.

    A sync that takes longer than SYNC_SECONDS does not hold up the start.

    Raises:
        ConfigurationError: the database cannot be used.
    """
    warn_of_short_key(services.settings)
    await wait_for_database(services)
    await upgrade_schema(services)
    syncing = asyncio.create_task(_sync(services))
    await asyncio.wait([syncing], timeout=SYNC_SECONDS)
    if syncing.done():
        await syncing
    else:
        log.warning("The service folders take long to read. The server starts with the services that it knows.")
    return syncing


async def finish_sync(syncing: asyncio.Task[None]) -> None:
    """Wait for a sync that goes on after the start; it ends with the process."""
    try:
        await syncing
    except ConfigurationError as error:
        log.error("The services could not be synced: %s", error)  # noqa: TRY400 - the sentence says it all


async def _sync(services: Services) -> None:
    with explained(services):
        _, problems = await sync_services(services, starts=True)
    report(problems)


async def finish_loading(services: Services, answering: asyncio.Event) -> None:
    """Once requests are answered: load what the first of them would wait for, then look for garbage again."""
    await answering.wait()
    # Whoever waits for the start is about to ask, and everything would be slow to him while we load.
    await asyncio.sleep(FIRST_REQUESTS)
    await asyncio.to_thread(load_tokens)
    with contextlib.suppress(*DATABASE_ERRORS):
        if any((await accepted_inputs(services)).values()):
            await asyncio.to_thread(load_check)
    collect_from_now_on()


async def wait_for_database(services: Services) -> None:
    """Give a database that comes up beside us (after a reboot, say) some seconds; what is wrong with it then is told."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            async with services.database.connection():
                return
        except DATABASE_ERRORS as error:
            if not is_away(error):
                return
            log.warning("Waiting for the database: %s", error)
        await asyncio.sleep(LOOK_EVERY)


async def upgrade_schema(services: Services) -> None:
    """Bring the schema up to date.

    Raises:
        ConfigurationError: the database cannot be reached, does not let us in, or is newer than this program.
    """
    with explained(services):
        revision = await migrations.current(services.database)
        if revision is not None and revision > migrations.head():
            raise ConfigurationError(
                f"The database was made by a newer fastDeploy (revision {revision}, this one knows {migrations.head()}). "
                "Install the newer one, or restore a backup from before."
            )
        await migrations.upgrade(services.database)


@contextmanager
def explained(services: Services) -> Iterator[None]:
    """Turn errors of the database into a sentence.

    Raises:
        ConfigurationError: the database cannot be reached, or refuses something.
    """
    try:
        yield
    except DATABASE_ERRORS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        address = without_password(services.database.url)
        raise ConfigurationError(
            f"The database at {address} cannot be used: {reason}. Check DATABASE_URL, and that the server runs."
        ) from error


def warn_of_short_key(settings: Settings) -> None:
    """Log that SECRET_KEY can be guessed by trying; earlier versions took any, so it does not stop the start."""
    key = settings.secret_key.get_secret_value() if settings.secret_key is not None else ""
    if key and len(key) < GOOD_KEY_LENGTH:
        log.warning(
            "SECRET_KEY has only %d characters: anyone with a token can try to guess it, and forge others. "
            "Use the output of: %s",
            len(key),
            MAKE_KEY,
        )


def report(problems: list[FolderProblem]) -> None:
    """Log what is wrong with service folders."""
    for problem in problems:
        log.warning("%s", problem_text(problem))


def problem_text(problem: FolderProblem) -> str:
    """Return a problem as one line: folder, file and reason, as far as it has them."""
    place = "/".join(filter(None, [problem.folder, problem.file]))
    return f"{place}: {problem.reason}" if place else problem.reason

"""What has to be true before the first request: schema, first user, services."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from dataclasses import dataclass

from deploy.adapters import migrations
from deploy.adapters.database import DATABASE_ERRORS, is_away, without_password
from deploy.adapters.filesystem import FolderProblem
from deploy.adapters.inputs.check import load as load_check
from deploy.adapters.tokens import load as load_tokens
from deploy.config import ConfigurationError
from deploy.domain.commands import CreateUser
from deploy.domain.errors import Conflict
from deploy.entrypoints.memory import collect_from_now_on
from deploy.entrypoints.routers.services import accepted_inputs, sync_services
from deploy.entrypoints.state import Services

log = logging.getLogger(__name__)

# Seconds. Longer than service managers count quick failures before they give up.
PATIENCE, LOOK_EVERY = 15.0, 0.5
FIRST_REQUESTS = 0.5


@dataclass(frozen=True, slots=True)
class FirstUser:
    """The user that was made at the first start; `password` only where it was made up."""

    name: str
    password: str | None


def introduction(first: FirstUser | None) -> str:
    """Return how the first user signs in, for whoever has started the server; empty where he is not new."""
    if first is None:
        return ""
    if first.password is None:
        return f"  Sign in as {first.name} with the password from INITIAL_USER_PASSWORD.\n"
    return (
        f"  Sign in as:  {first.name}\n  Password:    {first.password}\n"
        "  (shown this once; change it with: fastdeploy user passwd)\n"
    )


async def prepare_database(services: Services) -> FirstUser | None:
    """Bring the schema up to date, make the first user, sync the services; return the user if he is new."""
    await wait_for_database(services)
    await upgrade_schema(services)
    first = await create_first_user(services)
    _, problems = await sync_services(services, starts=True)
    report(problems)
    return first


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
    try:
        revision = await migrations.current(services.database)
        if revision is not None and revision > migrations.head():
            raise ConfigurationError(
                f"The database was made by a newer fastDeploy (revision {revision}, this one knows {migrations.head()}). "
                "Install the newer one, or restore a backup from before."
            )
        await migrations.upgrade(services.database)
    except DATABASE_ERRORS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        address = without_password(services.database.url)
        raise ConfigurationError(
            f"The database at {address} cannot be used: {reason}. Check DATABASE_URL, and that the server runs."
        ) from error


async def create_first_user(services: Services) -> FirstUser | None:
    """Make the first user where there is none; without a password in the settings, make one up."""
    async with services.open_unit_of_work() as uow:
        if await uow.users.count():
            return None
    given = services.settings.initial_user_password
    password = given.get_secret_value() if given is not None else secrets.token_urlsafe(12)
    name = services.settings.initial_user_name
    try:
        await services.bus.handle(
            CreateUser(name=name, password_hash=await services.passwords.hash(password), is_admin=True)
        )
    except Conflict:
        return None  # another process was faster
    return FirstUser(name, None if given is not None else password)


def report(problems: list[FolderProblem]) -> None:
    """Log what is wrong with service folders."""
    for problem in problems:
        log.warning("Service folder %s: %s: %s", problem.folder, problem.file, problem.reason)

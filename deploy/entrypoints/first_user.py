"""The first user: created when the server is about to answer, and how to get in if the password was lost.

A generated password is shown once, right after it is stored. Whatever happens in between (a kill, a closed terminal,
a service manager that drops the output), the database remembers that it was generated. Until it is changed, each
start shows the command that sets a new one.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from pathlib import Path

from deploy.config import ConfigurationError, Settings
from deploy.domain.commands import CreateUser
from deploy.domain.errors import Conflict, InvalidInput
from deploy.domain.passwords import check_rules
from deploy.entrypoints.own_command import own_command
from deploy.entrypoints.settings import from_environment
from deploy.entrypoints.standard_streams import show
from deploy.entrypoints.startup import explained
from deploy.entrypoints.state import Services

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Introduction:
    """What to show at the end of a start. `without_secret`: what to log if `text` could not be shown."""

    text: str = ""
    without_secret: str = ""


async def introduce(services: Services) -> Introduction:
    """Create the first user if there is none; return how to sign in, or how to replace a generated password.

    Raises:
        ConfigurationError: INITIAL_USER_NAME or INITIAL_USER_PASSWORD cannot be used, or the database.
    """
    with explained(services):
        return await _introduce(services)


async def _introduce(services: Services) -> Introduction:
    given = services.settings.initial_user_password
    password = given.get_secret_value() if given is not None else secrets.token_urlsafe(12)
    name = services.settings.initial_user_name
    if await _create_first_user(services, name, password, is_generated=given is None):
        return _first_introduction(services.settings, name, None if given is not None else password)
    async with services.open_unit_of_work() as uow:
        names = [user.name for user in await uow.users.list() if user.has_generated_password and user.is_active]
    # The server generates at most one password.
    return _reminder(services.settings, names[0]) if names else Introduction()


async def _create_first_user(services: Services, name: str, password: str, *, is_generated: bool) -> bool:
    """Create the administrator; return False if there is a user already."""
    async with services.open_unit_of_work() as uow:
        if await uow.users.count():
            return False
    try:
        check_rules(password)
    except InvalidInput as error:
        raise ConfigurationError(f"INITIAL_USER_PASSWORD cannot be used. {error}") from error
    command = CreateUser(
        name=name,
        password_hash=await services.passwords.hash(password),
        is_admin=True,
        has_generated_password=is_generated,
        only_first=True,
    )
    try:
        await services.bus.handle(command)
    except Conflict:
        return False  # another process was faster
    except InvalidInput as error:
        raise ConfigurationError(f"INITIAL_USER_NAME {name!r} cannot be used. {error}") from error
    return True


def _first_introduction(settings: Settings, name: str, password: str | None) -> Introduction:
    if password is None:
        text = f"  Sign in as {name} with the password from INITIAL_USER_PASSWORD.\n"
        return Introduction(text, text.strip())
    command = change_password_command(settings, name)
    return Introduction(
        f"  Sign in as:  {name}\n  Password:    {password}\n\n"
        f"  This password is not shown again. Change it with:\n    {command}\n{_needs(settings)}",
        f"The password that was generated for {name} could not be shown. Set a new one with: {command}",
    )


def _reminder(settings: Settings, name: str) -> Introduction:
    command = change_password_command(settings, name)
    fact = f"{name} still has the password that was generated at the first start."
    return Introduction(
        f"  {fact}\n  Change it, or replace it if it was lost, with:\n    {command}\n{_needs(settings)}",
        f"{fact} Change it, or replace it if it was lost, with: {command}",
    )


def change_password_command(settings: Settings, name: str) -> str:
    """Return the command that sets a user's password, to be copied into a shell of the same user, in any folder."""
    # Under another web server there is no data folder.
    place = ["--data-dir", str(settings.data_dir.absolute())] if settings.data_dir.is_dir() else []
    # A name that starts with a dash looks like an option.
    return own_command("user", "passwd", *([*place, "--", name] if name.startswith("-") else [name, *place]))


def _needs(settings: Settings) -> str:
    """Return what a command cannot find by itself: it never gets to know the password of a database of one's own."""
    if settings.is_embedded:
        return ""
    if from_environment("database_url") is not None:
        return "  It needs the server's DATABASE_URL and SECRET_KEY in its environment.\n"
    return "" if settings.data_dir.is_dir() else f"  Run it in {Path.cwd()}, where the settings are in .env.\n"


def show_introduction(introduction: Introduction, before: str = "") -> None:
    """Print an introduction, with a text before it. If nobody can have seen it, log what to do, without the password."""
    if not show(before + introduction.text) and introduction.without_secret:
        log.error("%s", introduction.without_secret)

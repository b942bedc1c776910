"""Create the first user at the first start, and help users who lost the generated password.

A generated password is shown once, right after it is stored. The user might never see it: the process can be killed,
the terminal closed, or the output discarded by a service manager. The database therefore records that the password was
generated. Until the password is changed, each start shows the command that sets a new one.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from pathlib import Path

from deploy.config import Settings, SettingsError
from deploy.domain.errors import InvalidInput
from deploy.domain.passwords import InvalidPassword
from deploy.domain.policy import SERVER
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.serve.own_command import own_command
from deploy.entrypoints.serve.settings import from_environment
from deploy.entrypoints.serve.standard_streams import show
from deploy.entrypoints.serve.startup import explained

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """Text that explains how to sign in. `without_secret` is logged if `text` could not be shown."""

    text: str = ""
    without_secret: str = ""


async def prepare_first_user(state: AppState) -> FirstSteps:
    """Create the first user if there are no users. Return how to sign in or how to replace a generated password.

    Raises:
        SettingsError: INITIAL_USER_NAME or INITIAL_USER_PASSWORD is invalid.
        ConfigurationError: The database cannot be used.
    """
    with explained(state):
        return await _prepare_first_user(state)


async def _prepare_first_user(state: AppState) -> FirstSteps:
    given = state.settings.initial_user_password
    password = given.get_secret_value() if given is not None else secrets.token_urlsafe(12)
    name = state.settings.initial_user_name
    if await _create_first_user(state, name, password, is_generated=given is None):
        return _sign_in_steps(state.settings, name, None if given is not None else password)
    async with state.open_unit_of_work() as uow:
        names = [user.name for user in await uow.users.list() if user.has_generated_password and user.is_active]
    # At most one password is generated.
    return _reminder(state.settings, names[0]) if names else FirstSteps()


async def _create_first_user(state: AppState, name: str, password: str, *, is_generated: bool) -> bool:
    """Create the administrator. Return False if a user already exists."""
    try:
        return await state.accounts.create_first(SERVER, name, password, is_generated=is_generated)
    except InvalidPassword as error:
        raise SettingsError(f"INITIAL_USER_PASSWORD is invalid. {error}") from error
    except InvalidInput as error:
        raise SettingsError(f"INITIAL_USER_NAME {name!r} is invalid. {error}") from error


def _sign_in_steps(settings: Settings, name: str, password: str | None) -> FirstSteps:
    if password is None:
        text = f"  Sign in as {name} with the password from INITIAL_USER_PASSWORD.\n"
        return FirstSteps(text, text.strip())
    command = change_password_command(settings, name)
    return FirstSteps(
        f"  Sign in as:  {name}\n  Password:    {password}\n\n"
        f"  This password is not shown again. Change it with:\n    {command}\n{_requirements(settings)}",
        f"The password generated for {name} could not be shown. Set a new one with: {command}",
    )


def _reminder(settings: Settings, name: str) -> FirstSteps:
    command = change_password_command(settings, name)
    notice = f"{name} still has the password that was generated at the first start."
    return FirstSteps(
        f"  {notice}\n  Change it, or replace it if you lost it, with:\n    {command}\n{_requirements(settings)}",
        f"{notice} Change it, or replace it if you lost it, with: {command}",
    )


def change_password_command(settings: Settings, name: str) -> str:
    """Return the command that sets a user's password. It works in any folder, for the same system user."""
    # Under another web server, there is no data folder.
    data_dir = ["--data-dir", str(settings.data_dir.absolute())] if settings.data_dir.is_dir() else []
    # A name that starts with a dash looks like an option.
    return own_command("user", "passwd", *([*data_dir, "--", name] if name.startswith("-") else [name, *data_dir]))


def _requirements(settings: Settings) -> str:
    """Return the command's additional requirements: it cannot access the password of an external database."""
    if settings.is_embedded:
        return ""
    if from_environment("database_url") is not None:
        return "  The command needs the DATABASE_URL and SECRET_KEY of the server in its environment.\n"
    return "" if settings.data_dir.is_dir() else f"  Run it in {Path.cwd()}, where .env has the settings.\n"


def show_first_steps(first_steps: FirstSteps, before: str = "") -> None:
    """Print the first steps after the text `before`. If that fails, log what to do, without the password."""
    if not show(before + first_steps.text) and first_steps.without_secret:
        log.error("%s", first_steps.without_secret)

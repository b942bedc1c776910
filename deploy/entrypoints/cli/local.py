"""Commands that use the database directly, whether or not a server is running: user, token, db, services."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from deploy.domain.errors import InvalidInput
from deploy.domain.rules import MAX_CONFIG_TOKEN_DAYS
from deploy.entrypoints.cli.settings import DataDir, ServicesDir, server_settings

if TYPE_CHECKING:
    from deploy.config import Settings
    from deploy.entrypoints.app_state import AppState

Result = TypeVar("Result")

users = typer.Typer(help="Manage users.", no_args_is_help=True)
tokens = typer.Typer(help="Manage tokens.", no_args_is_help=True)
database = typer.Typer(help="Manage the database schema.", no_args_is_help=True)
services_app = typer.Typer(help="List and sync services.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(users, name="user")
    app.add_typer(tokens, name="token")
    app.add_typer(database, name="db")
    app.add_typer(services_app, name="services")


def with_app_state(
    settings: Settings, action: Callable[[AppState], Awaitable[Result]], *, may_create: bool = False
) -> Result:
    """Return the result of `action`. If the bundled database is not running, start it for this call.

    With `may_create`, create the bundled database if it does not exist, for commands that prepare a server.

    Raises:
        ConfigurationError: There is no database in the data folder.
    """
    import asyncio

    from deploy.adapters.postgres import has_database, running_url
    from deploy.config import ConfigurationError, prepare_data_dir
    from deploy.entrypoints.app_state import create_app_state
    from deploy.entrypoints.serve.foreground import database as open_database
    from deploy.entrypoints.serve.startup import explained, upgrade_schema

    async def with_url(url: str) -> Result:
        state = create_app_state(settings, url)
        try:
            await upgrade_schema(state)
            with explained(state):
                return await action(state)
        finally:
            await state.database.close()

    attach = False
    if settings.is_embedded:
        is_new = not has_database(settings.data_dir)
        if is_new and not may_create:
            raise ConfigurationError(
                f"There is no database in {settings.data_dir}. Set --data-dir or DATA_DIR to the data folder of the "
                "server, or start a new server on this folder with: fastdeploy serve."
            )
        if is_new:
            typer.echo(f"Creating a new database in {settings.data_dir}", err=True)
        prepare_data_dir(settings)
        attach = running_url(settings.data_dir) is not None
    with open_database(settings, attach=attach) as (url, _postgres):
        return asyncio.run(with_url(url))


def read_password(from_stdin: bool) -> str:
    """Return a new password from standard input, or prompt for it twice on a terminal.

    Check it right away, before a bundled database is started for the command.

    Raises:
        InvalidInput: The password violates a rule.
    """
    from deploy.domain.passwords import check_rules

    if from_stdin or sys.stdin is None or not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n") if sys.stdin is not None else ""
        if not password:
            raise InvalidInput("There is no password on standard input.")
    else:
        password = str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    check_rules(password)
    return password


PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
UserName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the user.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@users.command("create")
def create_user(
    name: UserName,
    password_stdin: PasswordStdin = False,
    admin: Annotated[bool, typer.Option("--admin", help="Make the user an administrator.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Create a user. The first user is always an administrator."""
    from deploy.domain.policy import COMMAND_LINE

    password = read_password(password_stdin)

    async def run(state: AppState) -> None:
        await state.accounts.create(COMMAND_LINE, name, password, is_admin=admin)

    with_app_state(server_settings(data_dir), run, may_create=True)
    typer.echo(f"User {name} created")


@users.command("list")
def list_users(json: Json = False, data_dir: DataDir = None) -> None:
    """List users."""
    from deploy.entrypoints.schemas.users import UserOut

    async def run(state: AppState) -> list[UserOut]:
        async with state.open_unit_of_work() as uow:
            return [UserOut.model_validate(user) for user in await uow.users.list()]

    found = with_app_state(server_settings(data_dir), run)
    if json:
        typer.echo("[" + ",".join(user.model_dump_json() for user in found) + "]")
        return
    for user in found:
        role = "administrator" if user.is_admin else "user"
        typer.echo(f"{user.name}\t{role}\t{'active' if user.is_active else 'disabled'}")


@users.command("passwd")
def change_password(name: UserName, password_stdin: PasswordStdin = False, data_dir: DataDir = None) -> None:
    """Change a user's password and end their sessions."""
    password = read_password(password_stdin)

    async def run(state: AppState) -> None:
        await _change(state, name, password=password)

    with_app_state(server_settings(data_dir), run)
    typer.echo(f"Password of {name} changed")


@users.command("disable")
def disable_user(
    name: UserName,
    enable: Annotated[bool, typer.Option("--enable", help="Enable the user again.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Disable a user. Their sessions and tokens stop working."""

    async def run(state: AppState) -> None:
        await _change(state, name, is_active=enable)

    with_app_state(server_settings(data_dir), run)
    typer.echo(f"User {name} {'enabled' if enable else 'disabled'}")


async def _change(state: AppState, name: str, *, password: str | None = None, is_active: bool | None = None) -> None:
    from deploy.domain.errors import NotFound
    from deploy.domain.policy import COMMAND_LINE

    async with state.open_unit_of_work() as uow:
        user = await uow.users.find(name)
    if user is None:
        raise NotFound(f"User {name} does not exist. List users with: fastdeploy user list")
    await state.accounts.change(COMMAND_LINE, user.id, password=password, is_active=is_active)


@tokens.command("config")
def make_config_token(
    days: Annotated[int, typer.Option(min=1, max=MAX_CONFIG_TOKEN_DAYS, help="Lifetime in days.")],
    origin: Annotated[str, typer.Option(help="Where the token is used.")] = "config",
    data_dir: DataDir = None,
) -> None:
    """Create a config token, which can read the deployed services, and print it."""
    from deploy.domain.policy import COMMAND_LINE

    async def run(state: AppState) -> str:
        return await state.tokens.config_token(COMMAND_LINE, days=days, origin=origin)

    typer.echo(with_app_state(server_settings(data_dir), run))


@tokens.command("list")
def list_tokens(json: Json = False, data_dir: DataDir = None) -> None:
    """List service and config tokens."""
    from deploy.domain.policy import COMMAND_LINE
    from deploy.entrypoints.schemas.tokens import TokenOut

    async def run(state: AppState) -> list[TokenOut]:
        return [TokenOut.of(*row) for row in await state.tokens.list(COMMAND_LINE)]

    found = with_app_state(server_settings(data_dir), run)
    if json:
        typer.echo("[" + ",".join(token.model_dump_json() for token in found) + "]")
        return
    for token in found:
        state = "revoked" if token.revoked else f"expires {token.expires:%Y-%m-%d}"
        used = f"used {token.last_used:%Y-%m-%d %H:%M}" if token.last_used else "never used"
        typer.echo("\t".join([token.id, token.kind.value, token.service or "-", token.origin, state, used]))


@tokens.command("revoke")
def revoke_token(
    token_id: Annotated[
        str, typer.Argument(metavar="TOKEN_ID", help="ID of the token. List tokens with: fastdeploy token list")
    ],
    data_dir: DataDir = None,
) -> None:
    """Revoke a token."""
    from deploy.domain.commands import RevokeToken
    from deploy.domain.policy import COMMAND_LINE

    async def run(state: AppState) -> None:
        await state.bus.handle(RevokeToken(token_id=token_id), by=COMMAND_LINE)

    with_app_state(server_settings(data_dir), run)
    typer.echo(f"Token {token_id} revoked")


@database.command("upgrade")
def upgrade_database(data_dir: DataDir = None) -> None:
    """Upgrade the database schema to the latest version."""
    from deploy.adapters import migrations

    async def run(state: AppState) -> str | None:
        return await migrations.current(state.database)

    revision = with_app_state(server_settings(data_dir), run, may_create=True)
    typer.echo(f"The database is at revision {revision}")


@services_app.command("sync")
def sync(data_dir: DataDir = None, services_dir: ServicesDir = None) -> None:
    """Sync services with the service folders. Exit with code 1 if a folder is invalid."""
    from deploy.adapters.filesystem import FolderProblem
    from deploy.domain.events import Event, ServiceChanged
    from deploy.domain.policy import COMMAND_LINE
    from deploy.entrypoints.serve.startup import problem_text
    from deploy.service_layer.services import sync_services

    settings = server_settings(data_dir, services_dir)

    async def run(state: AppState) -> tuple[list[Event], list[FolderProblem]]:
        return await sync_services(state.folders, state.bus, state.open_unit_of_work, by=COMMAND_LINE)

    events, problems = with_app_state(settings, run, may_create=True)
    for event in events:
        if isinstance(event, ServiceChanged):
            typer.echo(f"{event.change}: {event.name}")
    for problem in problems:
        kind = "warning" if problem.is_minor else "broken"
        typer.secho(f"{kind}: {problem_text(problem)}", fg="yellow", err=True)
    if any(not problem.folder for problem in problems):
        raise InvalidInput(
            "Nothing was synced: the services folder cannot be read. Set --services-dir to the right folder."
        )
    if any(not problem.is_minor for problem in problems):
        raise InvalidInput(f"Some folders in {settings.services_root} are invalid. All others were synced.")
    typer.echo(f"Services synced from {settings.services_root}")

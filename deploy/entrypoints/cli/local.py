"""Commands that work on the database directly, whether a server runs or not: user, token, db, services."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from deploy.entrypoints.cli.settings import DataDir, ServicesDir, settings_from

if TYPE_CHECKING:
    from deploy.config import Settings
    from deploy.entrypoints.state import Services

Result = TypeVar("Result")

users = typer.Typer(help="Users: create, list, change password, disable.", no_args_is_help=True)
tokens = typer.Typer(help="Tokens: make, list, revoke.", no_args_is_help=True)
database = typer.Typer(help="The database's schema.", no_args_is_help=True)
services_app = typer.Typer(help="Service folders.", no_args_is_help=True)
MIN_PASSWORD = 8


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(users, name="user")
    app.add_typer(tokens, name="token")
    app.add_typer(database, name="db")
    app.add_typer(services_app, name="services")


def with_services(settings: Settings, do: Callable[[Services], Awaitable[Result]]) -> Result:
    """Do something with the database: the running one, or the bundled one started for this moment."""
    import asyncio

    from deploy.adapters.postgres import running_url
    from deploy.config import prepare_data_dir
    from deploy.entrypoints.foreground import database as open_database
    from deploy.entrypoints.startup import upgrade_schema
    from deploy.entrypoints.state import create_services

    async def with_url(url: str) -> Result:
        services = create_services(settings, url)
        try:
            await upgrade_schema(services)
            return await do(services)
        finally:
            await services.database.close()

    prepare_data_dir(settings)
    attach = settings.is_embedded and running_url(settings.data_dir) is not None
    with open_database(settings, attach=attach) as (url, _postgres):
        return asyncio.run(with_url(url))


def read_password(from_stdin: bool) -> str:
    """Return a new password, from standard input or asked for twice.

    Raises:
        ConfigurationError: it is too short.
    """
    from deploy.config import ConfigurationError

    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    if len(password) < MIN_PASSWORD:
        raise ConfigurationError(f"The password is too short: at least {MIN_PASSWORD} characters.")
    return password


PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@users.command("create")
def create_user(
    name: str,
    password_stdin: PasswordStdin = False,
    admin: Annotated[bool, typer.Option("--admin", help="Make an administrator.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Create a user. The very first one is an administrator."""
    from deploy.domain.commands import CreateUser

    password = read_password(password_stdin)

    async def do(services: Services) -> None:
        password_hash = await services.passwords.hash(password)
        await services.bus.handle(CreateUser(name=name, password_hash=password_hash, is_admin=admin))

    with_services(settings_from(data_dir), do)
    typer.echo(f"User {name} created")


@users.command("list")
def list_users(json: Json = False, data_dir: DataDir = None) -> None:
    """List the users."""
    from deploy.entrypoints.schemas.access import UserOut

    async def do(services: Services) -> list[UserOut]:
        async with services.open_unit_of_work() as uow:
            return [UserOut.model_validate(user) for user in await uow.users.list()]

    found = with_services(settings_from(data_dir), do)
    if json:
        typer.echo("[" + ",".join(user.model_dump_json() for user in found) + "]")
        return
    for user in found:
        role = "administrator" if user.is_admin else "user"
        typer.echo(f"{user.name}\t{role}\t{'active' if user.is_active else 'disabled'}")


@users.command("passwd")
def change_password(name: str, password_stdin: PasswordStdin = False, data_dir: DataDir = None) -> None:
    """Change a user's password; his sessions end."""
    password = read_password(password_stdin)

    async def do(services: Services) -> None:
        await _change(services, name, password_hash=await services.passwords.hash(password))

    with_services(settings_from(data_dir), do)
    typer.echo(f"Password of {name} changed")


@users.command("disable")
def disable_user(
    name: str,
    enable: Annotated[bool, typer.Option("--enable", help="Let the user sign in again.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Keep a user from signing in; his sessions and tokens stop working."""

    async def do(services: Services) -> None:
        await _change(services, name, is_active=enable)

    with_services(settings_from(data_dir), do)
    typer.echo(f"User {name} {'enabled' if enable else 'disabled'}")


async def _change(
    services: Services, name: str, *, password_hash: str | None = None, is_active: bool | None = None
) -> None:
    from deploy.domain.commands import ChangeUser
    from deploy.domain.errors import NotFound

    async with services.open_unit_of_work() as uow:
        user = await uow.users.find(name)
    if user is None:
        raise NotFound(f"There is no user named {name}. List them with: fastdeploy user list")
    await services.bus.handle(ChangeUser(user_id=user.id, password_hash=password_hash, is_active=is_active))


@tokens.command("config")
def make_config_token(
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it lives.")],
    origin: Annotated[str, typer.Option(help="Who uses it.")] = "config",
    data_dir: DataDir = None,
) -> None:
    """Print a token that may read the deployed services (for monitoring, backup, logging)."""
    from deploy.domain.model import TokenKind
    from deploy.entrypoints.routers.tokens import make_token

    async def do(services: Services) -> str:
        return await make_token(services, TokenKind.CONFIG, days=days, origin=origin, user_id=None)

    typer.echo(with_services(settings_from(data_dir), do))


@tokens.command("list")
def list_tokens(json: Json = False, data_dir: DataDir = None) -> None:
    """List service and config tokens."""
    from deploy.entrypoints.routers.tokens import token_rows

    found = with_services(settings_from(data_dir), token_rows)
    if json:
        typer.echo("[" + ",".join(token.model_dump_json() for token in found) + "]")
        return
    for token in found:
        state = "revoked" if token.revoked else f"expires {token.expires:%Y-%m-%d}"
        used = f"used {token.last_used:%Y-%m-%d %H:%M}" if token.last_used else "never used"
        typer.echo("\t".join([token.id, token.kind.value, token.service or "-", token.origin, state, used]))


@tokens.command("revoke")
def revoke_token(token_id: str, data_dir: DataDir = None) -> None:
    """Make a token worthless."""
    from deploy.domain.commands import RevokeToken

    async def do(services: Services) -> None:
        await services.bus.handle(RevokeToken(token_id=token_id, user_id=None))

    with_services(settings_from(data_dir), do)
    typer.echo(f"Token {token_id} revoked")


@database.command("upgrade")
def upgrade_database(data_dir: DataDir = None) -> None:
    """Bring the database's schema up to date."""
    from deploy.adapters import migrations

    async def do(services: Services) -> str | None:
        return await migrations.current(services.database)

    typer.echo(f"The database is at revision {with_services(settings_from(data_dir), do)}")


@services_app.command("sync")
def sync(data_dir: DataDir = None, services_dir: ServicesDir = None) -> None:
    """Make the services what the folders say."""
    from deploy.domain.events import ServiceChanged
    from deploy.entrypoints.routers.services import sync_services

    events, problems = with_services(settings_from(data_dir, services_dir), sync_services)
    for event in events:
        if isinstance(event, ServiceChanged):
            typer.echo(f"{event.change}: {event.name}")
    for problem in problems:
        typer.secho(f"broken: {problem.folder}: {problem.file}: {problem.reason}", fg="yellow", err=True)
    typer.echo("Services synced")

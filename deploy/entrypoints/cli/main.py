"""All commands, and how errors are told."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from deploy.domain.errors import DomainError
from deploy.entrypoints.cli import local, process
from deploy.entrypoints.cli.client import commands
from deploy.entrypoints.cli.client.errors import ClientError
from deploy.entrypoints.cli.client.screen import say

app = typer.Typer(
    name="fastdeploy",
    help="Deploy to Linux hosts from a web page, an HTTP API or here, and watch every step live.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fastdeploy {version('fastdeploy-server')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


process.register(app)
local.register(app)
commands.register(app, local.services_app)


def main() -> None:
    """Run a command; what can be told in a sentence ends with that sentence and an exit code that is not 0."""
    try:
        app()
    except ClientError as error:
        say(f"Error: {error}", style="red", error=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if not isinstance(error, _told_to_operators()):
            raise
        from deploy.entrypoints.settings import SettingsError

        is_usage = isinstance(error, SettingsError)
        for sentence in str(error).splitlines() if is_usage else [str(error)]:
            typer.secho(f"Error: {sentence}", fg="red", err=True)
        sys.exit(2 if is_usage else 1)


def _told_to_operators() -> tuple[type[Exception], ...]:
    """What commands on the server itself fail by. Clients need not wait until it is loaded."""
    from deploy.adapters.launching import RunError
    from deploy.adapters.postgres import PostgresError
    from deploy.config import ConfigurationError

    return ConfigurationError, PostgresError, RunError, DomainError

"""Assemble all commands and report errors."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from deploy.domain.errors import DomainError
from deploy.entrypoints.cli import access, local, process
from deploy.entrypoints.cli.client import commands
from deploy.entrypoints.cli.client.errors import ClientError
from deploy.entrypoints.cli.client.screen import say

app = typer.Typer(
    name="fastdeploy",
    help="Deploy to Linux hosts and watch every step live, from a web page, an HTTP API or the command line.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"fastdeploy {version('fastdeploy-server')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Handle the options before a command."""


process.register(app)
local.register(app)
access.register(app)
commands.register(app, local.services_app)


def main() -> None:
    """Run a command. Print expected errors without a traceback and exit with a nonzero code."""
    try:
        app()
    except ClientError as error:
        say(f"Error: {error}", style="red", error=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if not isinstance(error, _operator_errors()):
            raise
        is_usage = isinstance(error, _settings_errors())
        for message in str(error).splitlines() if is_usage else [str(error)]:
            typer.secho(f"Error: {message}", fg="red", err=True)
        sys.exit(2 if is_usage else 1)


def _settings_errors() -> tuple[type[Exception], ...]:
    """Return the errors that mean that a setting must be changed."""
    from deploy.adapters.postgres import WrongBinDir
    from deploy.adapters.runs.start import UnknownUser
    from deploy.config import SettingsError

    return SettingsError, UnknownUser, WrongBinDir


def _operator_errors() -> tuple[type[Exception], ...]:
    """Return the expected errors of server commands. Import them late to keep client commands fast."""
    from deploy.adapters.postgres import PostgresError
    from deploy.adapters.runs.start import RunError
    from deploy.config import ConfigurationError

    return ConfigurationError, PostgresError, RunError, DomainError

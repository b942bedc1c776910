"""Register the commands that use the HTTP API."""

from __future__ import annotations

import typer

from deploy.entrypoints.cli.client import deploy, deployments, login, services


def register(app: typer.Typer, services_app: typer.Typer) -> None:
    """Add the commands. `services_app` is the existing group of service commands."""
    login.register(app)
    deploy.register(app)
    deployments.register(app)
    services.register(services_app)

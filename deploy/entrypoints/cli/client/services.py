"""`services list`: what can be deployed."""

from __future__ import annotations

import sys

import typer

from deploy.entrypoints.cli.client import listing
from deploy.entrypoints.cli.client.api import open_api
from deploy.entrypoints.cli.client.options import Json, examples
from deploy.entrypoints.cli.client.screen import print_json


def register(services: typer.Typer) -> None:
    """Add the command to those about services."""
    services.command(
        "list",
        epilog=examples(
            "fastdeploy services list",
            note="Where standard output is no terminal: a line for each, its fields (id, name, last state, last time, "
            "description) separated by tabs.",
        ),
    )(list_services)


def list_services(json: Json = False) -> None:
    """List what can be deployed, and how it went last time."""
    api = open_api()
    api.need_user("list services")
    found = api.services()
    if json:
        print_json(found)
    else:
        listing.print_services(found, sys.stdout)

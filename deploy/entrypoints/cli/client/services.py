"""`services list` and `services inputs`: what can be deployed, and what each asks for."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from deploy.entrypoints.cli.client import listing
from deploy.entrypoints.cli.client.api import open_api
from deploy.entrypoints.cli.client.errors import WrongUsage
from deploy.entrypoints.cli.client.inputs import asked_by
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
    services.command(
        "inputs",
        epilog=examples(
            "fastdeploy services inputs shop",
            "fastdeploy services inputs shop --json | jq .schema",
            note="With --json: the schema with all choices, the answers of last time, and what will happen.",
        ),
    )(show_inputs)


def list_services(json: Json = False) -> None:
    """List what can be deployed, and how it went last time."""
    api = open_api()
    api.need_user("list services")
    found = api.services()
    if json:
        print_json(found)
    else:
        listing.print_services(found, sys.stdout)


def show_inputs(
    service: Annotated[
        str | None,
        typer.Argument(metavar="SERVICE", help="Which one; a service token in FASTDEPLOY_TOKEN knows its own."),
    ] = None,
    json: Json = False,
) -> None:
    """Show what a service asks for before it is deployed."""
    api = open_api()
    if api.credentials.service is None:
        api.need_user("look at what a service asks for")
        if service is None:
            raise WrongUsage("Of which service? List them with: fastdeploy services list")
    own = api.credentials.service is not None
    asked = asked_by(api, None if own else api.service_id(str(service)))
    if json:
        print_json(asked)
    else:
        listing.print_inputs(asked, sys.stdout)

"""The commands `services list` and `services inputs`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from deploy.entrypoints.cli.client import listing
from deploy.entrypoints.cli.client.api import open_api
from deploy.entrypoints.cli.client.errors import UsageError
from deploy.entrypoints.cli.client.inputs import inputs_of
from deploy.entrypoints.cli.client.options import Json, examples
from deploy.entrypoints.cli.client.screen import print_json


def register(services: typer.Typer) -> None:
    """Add the commands to the `services` group."""
    services.command(
        "list",
        epilog=examples(
            "fastdeploy services list",
            note="If standard output is not a terminal, print one line per service with tab-separated fields: id, name, "
            "last state, last time, description.",
        ),
    )(list_services)
    services.command(
        "inputs",
        epilog=examples(
            "fastdeploy services inputs shop",
            "fastdeploy services inputs shop --json | jq .schema",
            note="With --json, print the schema with all choices, the previous values, and what a deployment will do.",
        ),
    )(show_inputs)


def list_services(json: Json = False) -> None:
    """List services and their last deployment."""
    api = open_api()
    api.require_user("list services")
    found = api.services()
    if json:
        print_json(found)
    else:
        listing.print_services(found, sys.stdout)


def show_inputs(
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE",
            help="Name of the service. Optional with a service token, which is bound to one service.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show the inputs of a service."""
    api = open_api()
    if api.credentials.service is None:
        api.require_user("show the inputs of a service")
        if service is None:
            raise UsageError("Name a service. List them with: fastdeploy services list")
    is_bound = api.credentials.service is not None
    inputs = inputs_of(api, None if is_bound else api.service_id(str(service)))
    if json:
        print_json(inputs)
    else:
        listing.print_inputs(inputs, sys.stdout)

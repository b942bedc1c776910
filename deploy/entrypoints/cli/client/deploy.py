"""The command `deploy`."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from deploy.entrypoints.cli.client.address import page_url
from deploy.entrypoints.cli.client.api import Api, open_api
from deploy.entrypoints.cli.client.asking import can_prompt, prompt_confirmation, prompt_missing
from deploy.entrypoints.cli.client.errors import NeverConnected, Unreachable, UsageError
from deploy.entrypoints.cli.client.inputs import convert_values, inputs_of
from deploy.entrypoints.cli.client.options import (
    EXIT_CODES_HELP,
    Ask,
    Confirm,
    Json,
    Key,
    Output,
    Values,
    ValuesFile,
    Watch,
    examples,
    read_values,
)
from deploy.entrypoints.cli.client.screen import print_json, say
from deploy.entrypoints.cli.client.watching import watch as watch_deployment

ORIGIN = "cli"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "fastdeploy deploy shop --watch",
            "fastdeploy deploy shop -e version=1.4.2 -e 'notes=All new' --watch --output",
            'fastdeploy deploy --watch --idempotency-key "$CI_JOB_ID"     # in CI',
            "fastdeploy deploy shop -e version=1.4.2 -e password=@password.txt --confirm shop",
            note="Show the inputs of a service with `fastdeploy services inputs SERVICE`. On a terminal, you are prompted for "
            "required values. Otherwise, missing and invalid values are listed and the exit code is 2.\n\n"
            "Retried requests start only one deployment. With --json --watch, progress goes to standard error and "
            "the result with its steps to standard output.\n\n" + EXIT_CODES_HELP,
        )
    )(deploy)


def deploy(
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE",
            help="Service to deploy. Optional with a service token, which is bound to one service.",
        ),
    ] = None,
    env: Values = None,
    env_file: ValuesFile = None,
    watch: Watch = False,
    output: Output = False,
    json: Json = False,
    idempotency_key: Key = None,
    confirm: Confirm = None,
    ask: Ask = None,
) -> None:
    """Start a deployment. With --watch, follow it to its end."""
    values = read_values(env or [], env_file)
    key = idempotency_key or str(uuid.uuid4())
    api = open_api()
    service_id = _service_id(api, service)
    path = "/deployments/" if service_id is None else f"/services/{service_id}/deployments"
    inputs = inputs_of(api, service_id)
    is_interactive = can_prompt(ask)
    given = (
        prompt_missing(inputs, values, everything=ask is True)
        if is_interactive
        else convert_values(inputs["schema"], values)
    )
    body: dict[str, Any] = {"env": given}
    if service_id is not None:
        body["origin"] = ORIGIN
        if inputs["confirm"] and confirm is None and is_interactive:
            confirm = prompt_confirmation(str(service))
        if confirm is not None:
            body["confirm"] = confirm
    started = start(api, path, key, body)
    follow_up(api, started, watch=watch, with_output=output, as_json=json)


def start(api: Api, path: str, key: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Start a deployment and return it.

    Raises:
        ClientError: The deployment was not started, or its state is unknown. The message says what to do.
    """
    try:
        started: dict[str, Any] = api.post(path, body, key=key)
    except NeverConnected:
        raise
    except Unreachable as error:
        raise Unreachable(
            f"{error}\nThe deployment may have been started. To retry without starting it twice, add: "
            f"--idempotency-key {key}"
        ) from error
    return started


def follow_up(api: Api, started: dict[str, Any], *, watch: bool, with_output: bool, as_json: bool) -> None:
    """Watch a started deployment, or print it."""
    deployment_id = int(started["id"])
    if watch:
        watch_deployment(api, deployment_id, with_output=with_output, as_json=as_json)
    elif as_json:
        print_json(started)
    else:
        say(f"Deployment {deployment_id} of {started['service']}: {started['state']}")
        say(f"  Watch it:  fastdeploy deployments watch {deployment_id}")
        say(f"  Page:      {page_url(api.url, deployment_id)}")


def _service_id(api: Api, service: str | None) -> int | None:
    """Return the ID of the service, or None with a service token."""
    bound_service = api.credentials.service
    if bound_service is not None:
        if service not in (None, bound_service):
            raise UsageError(f"The service token in FASTDEPLOY_TOKEN is for {bound_service}, not for {service}.")
        return None
    api.require_user("start deployments")
    if service is None:
        raise UsageError("Name a service to deploy. List them with: fastdeploy services list")
    return api.service_id(service)

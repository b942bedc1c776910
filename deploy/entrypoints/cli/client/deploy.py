"""`deploy`: start a deployment, and watch it."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from deploy.entrypoints.cli.client.address import page_url
from deploy.entrypoints.cli.client.api import Api, open_api
from deploy.entrypoints.cli.client.asking import complete, confirmed, may_ask
from deploy.entrypoints.cli.client.errors import NeverConnected, Unreachable, WrongUsage
from deploy.entrypoints.cli.client.inputs import asked_by, converted
from deploy.entrypoints.cli.client.options import (
    EXIT_CODES_HELP,
    Answers,
    AnswersFile,
    Ask,
    Confirm,
    Json,
    Key,
    Output,
    Watch,
    examples,
    read_answers,
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
            note="What a service asks for (fastdeploy services inputs SERVICE) is asked for on a terminal; elsewhere, what is "
            "missing or does not fit is listed (exit code 2).\n\nIt is started once, even where the request has to be repeated. With --json --watch, standard output "
            "gets the result with its steps at the end, and standard error the progress meanwhile.\n\n"
            + EXIT_CODES_HELP,
        )
    )(deploy)


def deploy(
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE",
            help="What to deploy. With a service token in FASTDEPLOY_TOKEN it may be left out: the token knows.",
        ),
    ] = None,
    env: Answers = None,
    env_file: AnswersFile = None,
    watch: Watch = False,
    output: Output = False,
    json: Json = False,
    idempotency_key: Key = None,
    confirm: Confirm = None,
    ask: Ask = None,
) -> None:
    """Start a deployment of a service; with --watch, see it through."""
    answers = read_answers(env or [], env_file)
    key = idempotency_key or str(uuid.uuid4())
    api = open_api()
    service_id = _service_id(api, service)
    path = "/deployments/" if service_id is None else f"/services/{service_id}/deployments"
    asked = asked_by(api, service_id)
    is_there = may_ask(ask)
    given = complete(asked, answers, everything=ask is True) if is_there else converted(asked["schema"], answers)
    body: dict[str, Any] = {"env": given}
    if service_id is not None:
        body["origin"] = ORIGIN
        if asked["confirm"] and confirm is None and is_there:
            confirm = confirmed(str(service))
        if confirm is not None:
            body["confirm"] = confirm
    started = start(api, path, key, body)
    follow_up(api, started, watch=watch, with_output=output, as_json=json)


def start(api: Api, path: str, key: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask for a deployment, and return it.

    Raises:
        ClientError: it was not started, or nobody knows; then the text says how to find out.
    """
    try:
        started: dict[str, Any] = api.post(path, body, key=key)
    except NeverConnected:
        raise
    except Unreachable as error:
        raise Unreachable(
            f"{error}\nThe deployment may have been started all the same. "
            f"Ask again, and it is started once at most: --idempotency-key {key}"
        ) from error
    return started


def follow_up(api: Api, started: dict[str, Any], *, watch: bool, with_output: bool, as_json: bool) -> None:
    """Watch what was started, or say what it is."""
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
    """Return the id of the service; None: the token knows it."""
    own = api.credentials.service
    if own is not None:
        if service not in (None, own):
            raise WrongUsage(f"The service token in FASTDEPLOY_TOKEN is for {own}, not for {service}.")
        return None
    api.need_user("start a deployment")
    if service is None:
        raise WrongUsage("Which service? List them with: fastdeploy services list")
    return api.service_id(service)

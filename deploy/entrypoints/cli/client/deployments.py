"""`deployments`: look back, watch, cancel, retry."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any

import typer

from deploy.adapters.inputs.schema import title
from deploy.entrypoints.cli.client import listing
from deploy.entrypoints.cli.client.api import LINES_AT_ONCE, Api, open_api
from deploy.entrypoints.cli.client.asking import confirmed, may_ask, secret
from deploy.entrypoints.cli.client.deploy import follow_up, start
from deploy.entrypoints.cli.client.errors import INTERRUPTED, Refused
from deploy.entrypoints.cli.client.inputs import asked_by, converted
from deploy.entrypoints.cli.client.options import (
    EXIT_CODES_HELP,
    Answers,
    AnswersFile,
    Confirm,
    DeploymentId,
    Json,
    Output,
    Watch,
    examples,
    read_answers,
)
from deploy.entrypoints.cli.client.screen import print_json, say
from deploy.entrypoints.cli.client.transcript import FINAL, OutputLine, Transcript
from deploy.entrypoints.cli.client.watching import watch as watch_deployment

deployments = typer.Typer(help="Deployments: list, show, logs, watch, cancel, retry.", no_args_is_help=True)


class State(str, Enum):
    """What a list can be limited to."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(deployments, name="deployments")


@deployments.command(
    "list",
    epilog=examples(
        "fastdeploy deployments list --service shop --state failure",
        note="Where standard output is no terminal: a line for each, its fields (id, service, state, user, origin, "
        "created, seconds) separated by tabs.",
    ),
)
def list_deployments(
    service: Annotated[str | None, typer.Option(help="Only of this service.")] = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    user: Annotated[str | None, typer.Option(help="Only by this user.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most so many.")] = 20,
    json: Json = False,
) -> None:
    """List deployments, the newest first."""
    api = open_api()
    api.need_user("list deployments")
    service_id = api.service_id(service) if service is not None else None
    wanted = state.value if state is not None else None
    found = api.get("/deployments/", service_id=service_id, state=wanted, user=user, limit=limit)
    if json:
        print_json(found)
    else:
        listing.print_deployments(found, sys.stdout)


@deployments.command(
    "show", epilog=examples("fastdeploy deployments show 42", "fastdeploy deployments show 42 --json")
)
def show(deployment_id: DeploymentId, json: Json = False) -> None:
    """Show one deployment: why it failed or waits, and its steps."""
    api = open_api()
    found = api.deployment(deployment_id)
    if json:
        print_json(found)
    else:
        listing.print_deployment(found, api.url, sys.stdout)


@deployments.command(
    "logs",
    epilog=examples(
        "fastdeploy deployments logs 42 --tail 50",
        "fastdeploy deployments logs 42 --follow",
        "fastdeploy deployments logs 42 --search error --timestamps",
    ),
)
def logs(
    deployment_id: DeploymentId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the deployment has ended.")] = False,
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Begin each line with its time.")] = False,
    search: Annotated[
        str, typer.Option(metavar="TEXT", help="Only lines that contain this text, whatever the case.")
    ] = "",
    tail: Annotated[int | None, typer.Option(min=0, help="Only the last so many lines.")] = None,
) -> None:
    """Print what a deployment has said."""
    api = open_api()
    found = api.deployment(deployment_id)
    after = max(0, int(found["lines"]) - tail) if tail is not None else 0
    printer = listing.LinePrinter(sys.stdout, with_times=timestamps)
    try:
        for line in _lines(api, deployment_id, after, search):
            printer.print(line)
            after = line.number
        if follow and found["state"] not in FINAL:
            for line in _further_lines(api, deployment_id):
                if line.number > after and search.lower() in line.text.lower():
                    printer.print(line)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


@deployments.command("watch", epilog=examples("fastdeploy deployments watch 42 --output", note=EXIT_CODES_HELP))
def watch(deployment_id: DeploymentId, output: Output = False, json: Json = False) -> None:
    """Watch a deployment from its beginning to its end, now or afterwards; the exit code is its outcome."""
    api = open_api()
    api.deployment(deployment_id)
    watch_deployment(api, deployment_id, with_output=output, as_json=json)


@deployments.command("cancel", epilog=examples("fastdeploy deployments cancel 42"))
def cancel(deployment_id: DeploymentId, json: Json = False) -> None:
    """Stop a deployment, or take it out of the queue."""
    api = open_api()
    api.need_user("cancel a deployment")
    try:
        found = api.post(f"/deployments/{deployment_id}/cancel")
    except Refused as error:
        raise api.explained(error, deployment_id) from error
    if json:
        print_json(found)
    elif found["state"] == "cancelled":
        say(f"Deployment {deployment_id} of {found['service']} is cancelled")
    elif found["state"] in FINAL:
        say(f"Deployment {deployment_id} of {found['service']} is being stopped; its outcome stays: {found['state']}")
    else:
        say(f"Deployment {deployment_id} of {found['service']} is being stopped")
        say(f"  See it end:  fastdeploy deployments watch {deployment_id}")


@deployments.command(
    "retry",
    epilog=examples(
        "fastdeploy deployments retry 42 --watch",
        "fastdeploy deployments retry 42 -e password=@password.txt",
        note="Secrets are not kept, so they have to be given again: on a terminal they are asked for.\n\n"
        + EXIT_CODES_HELP,
    ),
)
def retry(
    deployment_id: DeploymentId,
    env: Answers = None,
    env_file: AnswersFile = None,
    watch: Watch = False,
    output: Output = False,
    json: Json = False,
    confirm: Confirm = None,
) -> None:
    """Start the same once more: same service, same answers."""
    answers = read_answers(env or [], env_file)
    api = open_api()
    api.need_user("retry a deployment")
    body = _again(api, deployment_id, answers, confirm)
    try:
        started = start(api, f"/deployments/{deployment_id}/retry", str(uuid.uuid4()), body)
    except Refused as error:
        raise api.explained(error, deployment_id) from error
    follow_up(api, started, watch=watch, with_output=output, as_json=json)


def _again(api: Api, deployment_id: int, answers: dict[str, str], confirm: str | None) -> dict[str, Any]:
    """Return what a retry has to bring: secrets, and the name of a service that asks for it."""
    before = api.deployment(deployment_id)
    asked = asked_by(api, int(before["service_id"]))
    given = converted({"properties": {name: {"writeOnly": True} for name in answers}}, answers)
    if may_ask(None):
        needed = [name for name in before["secret_inputs"] if name not in given]
        given |= {name: secret(title(asked["schema"] or {}, name)) for name in needed}
        if asked["confirm"] and confirm is None:
            confirm = confirmed(str(before["service"]))
    return {"env": given, **({"confirm": confirm} if confirm is not None else {})}


def _lines(api: Api, deployment_id: int, after: int, search: str) -> Iterator[OutputLine]:
    """Read the stored lines, page by page."""
    next_after: int | None = after
    while next_after is not None:
        page: dict[str, Any] = api.get(
            f"/deployments/{deployment_id}/output", after=next_after, limit=LINES_AT_ONCE, q=search or None
        )
        for line in page["lines"]:
            yield OutputLine(int(line["n"]), str(line["at"]), str(line["text"]))
        next_after = page["next_after"]


def _further_lines(api: Api, deployment_id: int) -> Iterator[OutputLine]:
    """Read all lines, those that are stored already among them, until the deployment has ended."""
    from deploy.entrypoints.cli.client.feed import Feed

    transcript = Transcript()
    for messages in Feed(api, deployment_id, lambda text: say(text or "Connected again.", error=True)):
        for change in transcript.take(messages):
            if isinstance(change, OutputLine):
                yield change
        if transcript.is_over:
            return

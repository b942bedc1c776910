"""The `deployments` commands: list, show, logs, hosts, watch, cancel, retry."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from deploy.adapters.inputs.schema import title
from deploy.domain.model import FINAL, DeploymentState
from deploy.entrypoints.cli.client import listing
from deploy.entrypoints.cli.client.api import LINES_AT_ONCE, Api, open_api
from deploy.entrypoints.cli.client.asking import can_prompt, prompt_confirmation, prompt_secret
from deploy.entrypoints.cli.client.deploy import follow_up, start
from deploy.entrypoints.cli.client.errors import INTERRUPTED, Refused
from deploy.entrypoints.cli.client.hosts import print_recap
from deploy.entrypoints.cli.client.inputs import convert_values, inputs_of
from deploy.entrypoints.cli.client.options import (
    EXIT_CODES_HELP,
    Confirm,
    DeploymentId,
    Json,
    Output,
    Values,
    ValuesFile,
    Watch,
    examples,
    read_values,
)
from deploy.entrypoints.cli.client.screen import print_json, say
from deploy.entrypoints.cli.client.transcript import OutputLine, Transcript
from deploy.entrypoints.cli.client.watching import watch as watch_deployment

deployments = typer.Typer(help="List, inspect, watch, cancel and retry deployments.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(deployments, name="deployments")


@deployments.command(
    "list",
    epilog=examples(
        "fastdeploy deployments list --service shop --state failure",
        note="If standard output is not a terminal, print one line per deployment with tab-separated fields: id, "
        "service, state, user, origin, created, seconds.",
    ),
)
def list_deployments(
    service: Annotated[str | None, typer.Option(help="Filter by service.")] = None,
    state: Annotated[DeploymentState | None, typer.Option(help="Filter by state.")] = None,
    user: Annotated[str | None, typer.Option(help="Filter by user.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=1000, help="Maximum number of deployments to list.")
    ] = 20,
    json: Json = False,
) -> None:
    """List deployments, newest first."""
    api = open_api()
    api.require_user("list deployments")
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
    """Show a deployment: its state, why it failed or is waiting, and its steps."""
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
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the output until the deployment ends.")
    ] = False,
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Prefix each line with its time.")] = False,
    search: Annotated[
        str, typer.Option(metavar="TEXT", help="Show only lines that contain this text, ignoring case.")
    ] = "",
    tail: Annotated[int | None, typer.Option(metavar="N", min=0, help="Show only the last N lines.")] = None,
) -> None:
    """Print the output of a deployment."""
    api = open_api()
    found = api.deployment(deployment_id)
    after = max(0, int(found["lines"]) - tail) if tail is not None else 0
    printer = listing.LinePrinter(sys.stdout, with_times=timestamps)
    try:
        for line in _stored_lines(api, deployment_id, after, search):
            printer.print(line)
            after = line.number
        if follow and found["state"] not in FINAL:
            sys.stdout.flush()  # a pipe or a file would otherwise get lines only in large blocks
            for line in _followed_lines(api, deployment_id):
                if line.number > after and search.lower() in line.text.lower():
                    printer.print(line)
                    sys.stdout.flush()
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


@deployments.command(
    "hosts",
    epilog=examples(
        "fastdeploy deployments hosts 42",
        "fastdeploy deployments hosts 42 --search web",
        note="If standard output is not a terminal, print one line per host with tab-separated fields: host, ok, "
        "changed, failed, unreachable, skipped, rescued, ignored.",
    ),
)
def list_hosts(
    deployment_id: DeploymentId,
    search: Annotated[
        str, typer.Option(metavar="TEXT", help="Show only hosts whose name contains this text, ignoring case.")
    ] = "",
    json: Json = False,
) -> None:
    """Show how many tasks of an Ansible deployment had which outcome on each host, failed hosts first."""
    api = open_api()
    api.deployment(deployment_id)
    found = list(_recap(api, deployment_id, search))
    if json:
        print_json(found)
    else:
        print_recap(found, sys.stdout)


@deployments.command("watch", epilog=examples("fastdeploy deployments watch 42 --output", note=EXIT_CODES_HELP))
def watch(deployment_id: DeploymentId, output: Output = False, json: Json = False) -> None:
    """Watch a deployment, running or finished, from its start. The exit code is its outcome."""
    api = open_api()
    api.deployment(deployment_id)
    watch_deployment(api, deployment_id, with_output=output, as_json=json)


@deployments.command("cancel", epilog=examples("fastdeploy deployments cancel 42"))
def cancel(deployment_id: DeploymentId, json: Json = False) -> None:
    """Cancel a queued or running deployment."""
    api = open_api()
    api.require_user("cancel deployments")
    try:
        found = api.post(f"/deployments/{deployment_id}/cancel")
    except Refused as error:
        raise api.explain(error, deployment_id) from error
    if json:
        print_json(found)
    elif found["state"] == "cancelled":
        say(f"Cancelled deployment {deployment_id} of {found['service']}")
    elif found["state"] in FINAL:
        say(
            f"Stopping deployment {deployment_id} of {found['service']}. Its outcome does not change: {found['state']}"
        )
    else:
        say(f"Stopping deployment {deployment_id} of {found['service']}")
        say("  Commands that a playbook already started on other hosts may keep running.")
        say(f"  Watch it:  fastdeploy deployments watch {deployment_id}")


@deployments.command(
    "retry",
    epilog=examples(
        "fastdeploy deployments retry 42 --watch",
        "fastdeploy deployments retry 42 -e password=@password.txt",
        note="Secrets are not stored, so you must give them again. On a terminal, you are prompted for them.\n\n"
        + EXIT_CODES_HELP,
    ),
)
def retry(
    deployment_id: DeploymentId,
    env: Values = None,
    env_file: ValuesFile = None,
    watch: Watch = False,
    output: Output = False,
    json: Json = False,
    confirm: Confirm = None,
) -> None:
    """Retry a deployment with the same values."""
    values = read_values(env or [], env_file)
    api = open_api()
    api.require_user("retry deployments")
    body = _retry_body(api, deployment_id, values, confirm)
    try:
        started = start(api, f"/deployments/{deployment_id}/retry", str(uuid.uuid4()), body)
    except Refused as error:
        raise api.explain(error, deployment_id) from error
    follow_up(api, started, watch=watch, with_output=output, as_json=json)


def _retry_body(api: Api, deployment_id: int, values: dict[str, str], confirm: str | None) -> dict[str, Any]:
    """Return the body of a retry request: the secrets, and the name of the service if it requires confirmation."""
    before = api.deployment(deployment_id)
    inputs = inputs_of(api, int(before["service_id"]))
    given = convert_values({"properties": {name: {"writeOnly": True} for name in values}}, values)
    if can_prompt(None):
        missing = [name for name in before["secret_inputs"] if name not in given]
        given |= {name: prompt_secret(title(inputs["schema"] or {}, name)) for name in missing}
        if inputs["confirm"] and confirm is None:
            confirm = prompt_confirmation(str(before["service"]))
    return {"env": given, **({"confirm": confirm} if confirm is not None else {})}


def _stored_lines(api: Api, deployment_id: int, after: int, search: str) -> Iterator[OutputLine]:
    """Yield the stored lines, page by page."""
    next_after: int | None = after
    while next_after is not None:
        page: dict[str, Any] = api.get(
            f"/deployments/{deployment_id}/output", after=next_after, limit=LINES_AT_ONCE, q=search or None
        )
        for line in page["lines"]:
            yield OutputLine(int(line["n"]), str(line["at"]), str(line["text"]))
        next_after = page["next_after"]


def _recap(api: Api, deployment_id: int, search: str) -> Iterator[dict[str, Any]]:
    """Yield the recap of each host, page by page."""
    after: str | None = None
    while True:
        page: dict[str, Any] = api.get(
            f"/deployments/{deployment_id}/recap", after=after, q=search or None, limit=1000
        )
        yield from page["hosts"]
        after = page["next_after"]
        if after is None:
            return


def _followed_lines(api: Api, deployment_id: int) -> Iterator[OutputLine]:
    """Yield all lines, starting with the stored ones, until the deployment ends."""
    from deploy.entrypoints.cli.client.feed import Feed

    transcript = Transcript()
    for messages in Feed(api, deployment_id, lambda text: say(text or "Reconnected.", error=True)):
        for change in transcript.take(messages):
            if isinstance(change, OutputLine):
                yield change
        if transcript.is_over:
            return

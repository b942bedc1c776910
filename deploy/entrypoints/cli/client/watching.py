"""Watch a deployment until it ends, and exit with the code of its outcome."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, TextIO

import typer

from deploy.entrypoints.cli.client.api import Api
from deploy.entrypoints.cli.client.errors import CANCELLED, FAILURE, INTERRUPTED, SUCCESS
from deploy.entrypoints.cli.client.plain import PlainView
from deploy.entrypoints.cli.client.screen import console, is_interactive, marks_for, print_json, say
from deploy.entrypoints.cli.client.transcript import Transcript

if TYPE_CHECKING:
    from deploy.entrypoints.cli.client.progress import ProgressView

EXIT_CODES = {"success": SUCCESS, "failure": FAILURE, "cancelled": CANCELLED}
WAITING_REASON_INTERVAL = 3.0


def watch(api: Api, deployment_id: int, *, with_output: bool, as_json: bool) -> None:
    """Show a deployment from start to end, then exit with the code of its outcome.

    With `as_json`, print the finished deployment to standard output and everything else to standard error.

    Raises:
        typer.Exit: Always. The code is 130 if the user stops watching.
        ClientError: The deployment can no longer be watched.
    """
    try:
        state = _follow(api, deployment_id, sys.stderr if as_json else sys.stdout, with_output=with_output)
        if as_json:
            print_json(api.deployment(deployment_id))
    except KeyboardInterrupt:
        _report_interruption(api, deployment_id)
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(EXIT_CODES[state])


def _follow(api: Api, deployment_id: int, stream: TextIO, *, with_output: bool) -> str:
    from deploy.entrypoints.cli.client.feed import Feed

    transcript = Transcript()
    reason_read_at = -WAITING_REASON_INTERVAL
    view = _view(api, transcript, stream, with_output=with_output)
    with view, contextlib.closing(iter(Feed(api, deployment_id, view.connection_changed))) as batches:
        for messages in batches:
            view.show(transcript.take(messages))
            if transcript.is_over:
                break
            if transcript.state != "queued":
                view.waiting(None)
            elif transcript.deployment and time.monotonic() - reason_read_at > WAITING_REASON_INTERVAL:
                view.waiting(api.waiting_reason(deployment_id))
                reason_read_at = time.monotonic()
    return transcript.state


def _view(api: Api, transcript: Transcript, stream: TextIO, *, with_output: bool) -> PlainView | ProgressView:
    out = console(stream)
    if is_interactive(stream):
        from deploy.entrypoints.cli.client.progress import ProgressView

        return ProgressView(
            transcript,
            out,
            marks_for(stream),
            with_output=with_output,
            clock_offset_seconds=api.transport.clock_offset_seconds,
        )

    def write(line: str) -> None:
        stream.write(f"{line}\n")
        stream.flush()  # show each line immediately

    return PlainView(transcript, write, lambda text: say(text, error=True), with_output=with_output)


def _report_interruption(api: Api, deployment_id: int) -> None:
    say(f"\nStopped watching. Deployment {deployment_id} continues.", error=True)
    say(f"  Watch it again:  fastdeploy deployments watch {deployment_id}", error=True)
    if api.credentials.kind == "user":
        say(f"  Cancel it:       fastdeploy deployments cancel {deployment_id}", error=True)

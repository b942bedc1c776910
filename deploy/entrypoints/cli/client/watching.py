"""Watch a deployment until it ends; its outcome is the exit code."""

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
ASK_WHY_EVERY = 3.0


def watch(api: Api, deployment_id: int, *, with_output: bool, as_json: bool) -> None:
    """Show a deployment from its beginning to its end, then leave with the exit code of its outcome.

    With `as_json` standard output gets the deployment once it has ended, and everything else goes to standard error.

    Raises:
        typer.Exit: always; 130 when the user stops watching.
        ClientError: it cannot be watched any more.
    """
    try:
        state = _follow(api, deployment_id, sys.stderr if as_json else sys.stdout, with_output=with_output)
        if as_json:
            print_json(api.deployment(deployment_id))
    except KeyboardInterrupt:
        _say_that_it_goes_on(api, deployment_id)
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(EXIT_CODES[state])


def _follow(api: Api, deployment_id: int, stream: TextIO, *, with_output: bool) -> str:
    from deploy.entrypoints.cli.client.feed import Feed

    transcript = Transcript()
    asked_why = -ASK_WHY_EVERY
    view = _view(api, transcript, stream, with_output=with_output)
    with view, contextlib.closing(iter(Feed(api, deployment_id, view.trouble))) as batches:
        for messages in batches:
            view.show(transcript.take(messages))
            if transcript.is_over:
                break
            if transcript.state != "queued":
                view.waiting(None)
            elif transcript.deployment and time.monotonic() - asked_why > ASK_WHY_EVERY:
                view.waiting(api.why_waiting(deployment_id))
                asked_why = time.monotonic()
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
        stream.flush()  # a line that waits in a buffer is no live line

    return PlainView(transcript, write, lambda text: say(text, error=True), with_output=with_output)


def _say_that_it_goes_on(api: Api, deployment_id: int) -> None:
    say(f"\nNo longer watching: deployment {deployment_id} goes on without us.", error=True)
    say(f"  Watch it again:  fastdeploy deployments watch {deployment_id}", error=True)
    if api.credentials.kind == "user":
        say(f"  Cancel it:       fastdeploy deployments cancel {deployment_id}", error=True)

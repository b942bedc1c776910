"""Write plain progress lines for log files, pipes, and CI jobs. docs/reference/cli.md documents the stable format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType

from deploy.domain.model import FINAL
from deploy.entrypoints.cli.client.hosts import host_line, step_summary
from deploy.entrypoints.cli.client.text import duration, one_line, printable, seconds_between
from deploy.entrypoints.cli.client.transcript import (
    Change,
    HostFailure,
    Message,
    OutputLine,
    StateChange,
    Transcript,
    mended,
)

Write = Callable[[str], None]


def deployment_line(deployment: Message) -> str:
    """Return the line for the state of a deployment."""
    state = str(deployment["state"])
    title = f"deployment {deployment['id']} ({printable(deployment['service'])})"
    if state not in FINAL:
        cancelling = deployment.get("cancel_requested")
        return f"{title}: cancelling: {one_line(cancelling)}" if cancelling else f"{title}: {state}"
    took = duration(seconds_between(deployment.get("started"), deployment.get("finished")))
    reason = one_line(deployment.get("reason") or "")
    return f"{title}: {state}" + (f" ({took})" if took else "") + (f": {reason}" if reason else "")


def step_line(step: Message) -> str:
    """Return the line for the state and message of a step."""
    took = duration(seconds_between(step.get("started"), step.get("finished")))
    message = step_summary(step)
    return (
        f"step {one_line(step['name'])}: {mended(step) or step['state']}"
        + (f" ({took})" if took else "")
        + (f": {message}" if message else "")
    )


def host_failure_line(failure: HostFailure) -> str:
    """Return the line for a host on which a step failed."""
    return f"host {host_line(failure.result)} ({one_line(failure.step['name'])})"


def output_line(text: str) -> str:
    """Return the line for a line of output."""
    return f"| {printable(text)}".rstrip()


class PlainView:
    """A context manager that writes a line for each change. Messages about the connection go to `remark`."""

    def __init__(self, transcript: Transcript, write: Write, remark: Write, *, with_output: bool) -> None:
        self._transcript = transcript
        self._write = write
        self._remark = remark
        self._with_output = with_output
        self._waiting: str | None = None

    def __enter__(self) -> PlainView:
        """Return the view."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def show(self, changes: Sequence[Change]) -> None:
        """Write the changes. After a failure, write the last lines of output before the outcome."""
        for change in changes:
            if isinstance(change, OutputLine):
                if self._with_output:
                    self._write(output_line(change.text))
            elif isinstance(change, StateChange):
                self._state(change.deployment)
            elif isinstance(change, HostFailure):
                self._write(host_failure_line(change))
            else:
                self._write(step_line(change.step))

    def waiting(self, reason: str | None) -> None:
        """If the reason the deployment is waiting has changed, write it."""
        if reason and reason != self._waiting:
            deployment = self._transcript.deployment
            name = f" ({printable(deployment['service'])})" if deployment else ""
            self._write(f"deployment {deployment.get('id', '')}{name}: waiting: {one_line(reason)}")
        self._waiting = reason

    def connection_changed(self, error: str | None) -> None:
        """Report that the connection was lost, or (None) that it was restored."""
        if error is None:
            self._remark("Reconnected.")
        else:
            self._remark(f"{error} The deployment is not affected. Reconnecting …")

    def _state(self, deployment: Message) -> None:
        if deployment["state"] == "failure" and not self._with_output:
            for text in self._transcript.tail:
                self._write(output_line(text))
        self._write(deployment_line(deployment))

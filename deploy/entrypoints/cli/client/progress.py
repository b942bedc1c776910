"""Show the progress of a deployment on a terminal: finished steps, with running steps and a progress bar below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from deploy.domain.model import FINAL_STEPS
from deploy.domain.terminal import State
from deploy.entrypoints.cli.client.hosts import host_line, step_summary
from deploy.entrypoints.cli.client.screen import COLORS, Marks
from deploy.entrypoints.cli.client.text import colored, duration, one_line, printable, seconds_between, utc_now
from deploy.entrypoints.cli.client.transcript import (
    Change,
    HostFailure,
    Message,
    OutputLine,
    StateChange,
    StepChange,
    Transcript,
    mended,
)

REFRESH_PER_SECOND = 10
RUNNING_ROWS = 5
MIN_NAME_WIDTH, TOOK_WIDTH = 12, 7


@dataclass(frozen=True, slots=True)
class Frame:
    """A snapshot for the live display, which is drawn by another thread."""

    deployment: Message
    running: tuple[Message, ...]
    done: int
    total: int
    name_width: int
    open_line: str = ""


class ProgressView:
    """A context manager that shows progress on a terminal."""

    def __init__(
        self,
        transcript: Transcript,
        console: Console,
        marks: Marks,
        *,
        with_output: bool,
        clock_offset_seconds: float = 0.0,
    ) -> None:
        self._transcript = transcript
        self._console = console
        self._marks = marks
        self._with_output = with_output
        self._offset = timedelta(seconds=clock_offset_seconds)
        self._spinner = Spinner("dots" if marks == Marks() else "line", style="cyan")
        self._frame = Frame({}, (), 0, 0, MIN_NAME_WIDTH)
        self._waiting = self._connection_error = ""
        self._has_header = False
        self._style_state = State()
        self._live = Live(
            console=console,
            get_renderable=self._live_display,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> ProgressView:
        """Start the live display."""
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the live display. Keep the lines above it."""
        self._live.stop()

    def show(self, changes: Sequence[Change]) -> None:
        """Show the changes."""
        self._frame = self._snapshot()
        lines = [line for change in changes for line in self._lines(change)]
        if lines:
            # Print only once, because each print redraws the live display.
            self._console.print(Group(*lines), crop=False)
        self._live.refresh()

    def waiting(self, reason: str | None) -> None:
        """Show the reason the deployment is waiting."""
        self._waiting = f"Waiting: {one_line(reason)}" if reason else ""

    def connection_changed(self, error: str | None) -> None:
        """Show that the connection was lost, or (None) that it was restored."""
        self._connection_error = f"{one_line(error)} The deployment is not affected. Reconnecting …" if error else ""

    def _snapshot(self) -> Frame:
        known = self._transcript
        widest = max((Text(one_line(step["name"])).cell_len for step in known.steps.values()), default=0)
        return Frame(
            deployment=known.deployment,
            running=tuple(known.running()),
            done=known.done,
            total=len(known.steps),
            open_line=colored(known.open_line, self._style_state)[0] if self._with_output else "",
            # Never shrinks, because lines that are already printed cannot be realigned.
            name_width=max(self._frame.name_width, min(widest, self._console.width * 2 // 5)),
        )

    def _lines(self, change: Change) -> list[RenderableType]:
        if isinstance(change, OutputLine):
            text, self._style_state = colored(change.text, self._style_state)
            return [_output(text)] if self._with_output else []
        if isinstance(change, HostFailure):
            return [Text(f"  {host_line(change.result)}", style="red")]
        if isinstance(change, StepChange):
            return [self._row(change.step)] if change.step["state"] in FINAL_STEPS else []
        return self._state(change)

    def _state(self, change: StateChange) -> list[RenderableType]:
        deployment = change.deployment
        lines: list[RenderableType] = []
        if not self._has_header:
            self._has_header = True
            lines.append(header(deployment, self._marks))
        if self._transcript.is_over and deployment is self._transcript.deployment:
            lines += outcome(deployment, self._marks, () if self._with_output else self._transcript.tail)
        elif deployment.get("cancel_requested"):
            lines.append(Text("Stopping …", style="yellow"))
        return lines

    def _row(self, step: Message, mark: RenderableType | None = None) -> Table:
        return step_row(
            step,
            mark
            or Text(self._marks.of(step["state"]), style="yellow" if mended(step) else COLORS.get(step["state"], "")),
            name_width=self._frame.name_width,
            took=duration(seconds_between(step["started"], step["finished"], utc_now() + self._offset)),
        )

    def _live_display(self) -> RenderableType:
        frame = self._frame
        spinner = self._spinner.render(self._console.get_time())
        rows: list[RenderableType] = [_open(frame.open_line)] if frame.open_line else []
        rows += [self._row(step, spinner) for step in frame.running[:RUNNING_ROWS]]
        rows += [Text(remark, style="yellow") for remark in (self._waiting, self._connection_error) if remark]
        if not rows and not frame.deployment:
            rows.append(step_row({"name": "Connecting"}, spinner, name_width=frame.name_width, took=""))
        if frame.deployment:
            rows.append(self._bar(frame))
        return Group(*rows)

    def _bar(self, frame: Frame) -> Table:
        # Leave room for the ^C that a terminal echoes, which would wrap on a full line.
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.width = max(20, self._console.width - 3)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_column(no_wrap=True)
        deployment = frame.deployment
        begun = seconds_between(deployment["started"], deployment["finished"], utc_now() + self._offset)
        bar.add_row(
            ProgressBar(total=max(frame.total, 1), completed=frame.done),
            f"{frame.done}/{frame.total}",
            duration(begun) or str(deployment["state"]),
        )
        return bar


def header(deployment: Message, marks: Marks) -> Text:
    """Return the header: service, deployment, user, and origin."""
    by = f"{printable(deployment['user'])} from {printable(deployment['origin'])}"
    return Text.assemble(
        (printable(deployment["service"]), "bold"),
        (f"{marks.between}deployment {deployment['id']}{marks.between}by {by}", "dim"),
    )


def step_row(step: Message, mark: RenderableType, *, name_width: int, took: str, whole_message: bool = False) -> Table:
    """Return the row for a step: symbol, name, duration, and message.

    Truncate the message unless `whole_message` is true.
    """
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(width=1)
    row.add_column(width=name_width, overflow="fold")
    row.add_column(width=TOOK_WIDTH, justify="right", style="dim")
    row.add_column(ratio=1, no_wrap=not whole_message, overflow="fold" if whole_message else "ellipsis", style="dim")
    row.add_row(mark, Text(one_line(step["name"])), took, Text(step_summary(step)))
    return row


def outcome(deployment: Message, marks: Marks, tail: Sequence[str] = ()) -> list[RenderableType]:
    """Return the outcome. After a failure, add the last lines of output and the command that shows the full output."""
    state = str(deployment["state"])
    took = duration(seconds_between(deployment["started"], deployment["finished"]))
    title = f"{marks.of(state)} Deployment {deployment['id']} of {printable(deployment['service'])}: {state}"
    style = f"bold {COLORS[state]}"
    lines: list[RenderableType] = [Text(title + (f", {took}" if took else ""), style=style)]
    if deployment.get("reason"):
        lines.append(Text(one_line(deployment["reason"])))
    if state == "failure":
        lines += [_output(printable(text)) for text in tail]
        lines.append(Text(f"Full output: fastdeploy deployments logs {deployment['id']}", style="dim"))
    return lines


def _open(text: str) -> Text:
    # The live display must know its height, so the line cannot be wrapped by the terminal.
    return Text.assemble(("| ", "dim"), Text.from_ansi(text), no_wrap=True, overflow="ellipsis")


def _output(text: str) -> Text:
    # Let the terminal wrap the line, so that copying it returns the original text.
    line = Text.assemble(("| ", "dim"), Text.from_ansi(text), no_wrap=True, overflow="ignore")
    line.rstrip()
    return line

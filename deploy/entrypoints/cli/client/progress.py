"""A deployment on a terminal: what has ended scrolls by, what runs stays below, with a progress bar."""

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

from deploy.entrypoints.cli.client.screen import COLORS, Marks
from deploy.entrypoints.cli.client.text import colored, duration, one_line, printable, seconds_between, utc_now
from deploy.entrypoints.cli.client.transcript import (
    FINAL_STEP,
    Change,
    Message,
    OutputLine,
    StateChange,
    StepChange,
    Transcript,
)

REFRESH_PER_SECOND = 10
RUNNING_ROWS = 5
NARROWEST_NAME, TOOK_WIDTH = 12, 7


@dataclass(frozen=True, slots=True)
class Frame:
    """What the moving part shows; made by one thread, drawn by another."""

    deployment: Message
    running: tuple[Message, ...]
    done: int
    total: int
    name_width: int


class ProgressView:
    """A context manager that draws on a terminal."""

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
        self._frame = Frame({}, (), 0, 0, NARROWEST_NAME)
        self._waiting = self._trouble = ""
        self._has_header = False
        self._live = Live(
            console=console,
            get_renderable=self._moving_part,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> ProgressView:
        """Begin to draw."""
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the moving part away; what has scrolled by stays."""
        self._live.stop()

    def show(self, changes: Sequence[Change]) -> None:
        """Draw what has changed."""
        self._frame = self._snapshot()
        lines = [line for change in changes for line in self._lines(change)]
        if lines:
            # All at once: each print draws the moving part anew.
            self._console.print(Group(*lines), crop=False)
        self._live.refresh()

    def waiting(self, reason: str | None) -> None:
        """Show why the deployment waits."""
        self._waiting = f"Waiting: {one_line(reason)}" if reason else ""

    def trouble(self, sentence: str | None) -> None:
        """Show that the connection is lost, or (None) that it is back."""
        self._trouble = f"{one_line(sentence)} The deployment goes on; trying again …" if sentence else ""

    def _snapshot(self) -> Frame:
        known = self._transcript
        widest = max((Text(one_line(step["name"])).cell_len for step in known.steps.values()), default=0)
        return Frame(
            deployment=known.deployment,
            running=tuple(known.running()),
            done=known.done,
            total=len(known.steps),
            # It only grows: lines that have scrolled by cannot be set in again.
            name_width=max(self._frame.name_width, min(widest, self._console.width * 2 // 5)),
        )

    def _lines(self, change: Change) -> list[RenderableType]:
        if isinstance(change, OutputLine):
            return [_output(change.text)] if self._with_output else []
        if isinstance(change, StepChange):
            return [self._row(change.step)] if change.step["state"] in FINAL_STEP else []
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
            lines.append(Text("It is being stopped …", style="yellow"))
        return lines

    def _row(self, step: Message, mark: RenderableType | None = None) -> Table:
        return step_row(
            step,
            mark or Text(self._marks.of(step["state"]), style=COLORS.get(step["state"], "")),
            name_width=self._frame.name_width,
            took=duration(seconds_between(step["started"], step["finished"], utc_now() + self._offset)),
        )

    def _moving_part(self) -> RenderableType:
        frame = self._frame
        spinner = self._spinner.render(self._console.get_time())
        rows: list[RenderableType] = [self._row(step, spinner) for step in frame.running[:RUNNING_ROWS]]
        rows += [Text(remark, style="yellow") for remark in (self._waiting, self._trouble) if remark]
        if not rows and not frame.deployment:
            rows.append(step_row({"name": "Connecting"}, spinner, name_width=frame.name_width, took=""))
        if frame.deployment:
            rows.append(self._bar(frame))
        return Group(*rows)

    def _bar(self, frame: Frame) -> Table:
        # Room for the ^C that a terminal writes where the cursor is: in a full line it would begin another one.
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
    """Return the line above everything: what, which, who."""
    by = f"{printable(deployment['user'])} from {printable(deployment['origin'])}"
    return Text.assemble(
        (printable(deployment["service"]), "bold"),
        (f"{marks.between}deployment {deployment['id']}{marks.between}by {by}", "dim"),
    )


def step_row(step: Message, mark: RenderableType, *, name_width: int, took: str, whole_message: bool = False) -> Table:
    """Return the line of a step: mark, name, duration, and as much of the message as fits (or all of it)."""
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(width=1)
    row.add_column(width=name_width, overflow="fold")
    row.add_column(width=TOOK_WIDTH, justify="right", style="dim")
    row.add_column(ratio=1, no_wrap=not whole_message, overflow="fold" if whole_message else "ellipsis", style="dim")
    row.add_row(mark, Text(one_line(step["name"])), took, Text(one_line(step.get("message") or "")))
    return row


def outcome(deployment: Message, marks: Marks, tail: Sequence[str] = ()) -> list[RenderableType]:
    """Return how it went; after a failure with the reason, the last lines of output, and where to read on."""
    state = str(deployment["state"])
    took = duration(seconds_between(deployment["started"], deployment["finished"]))
    title = f"{marks.of(state)} Deployment {deployment['id']} of {printable(deployment['service'])}: {state}"
    style = f"bold {COLORS[state]}"
    lines: list[RenderableType] = [Text(title + (f", {took}" if took else ""), style=style)]
    if deployment.get("reason"):
        lines.append(Text(one_line(deployment["reason"])))
    if state == "failure":
        lines += [_output(text) for text in tail]
        lines.append(Text(f"Everything it said: fastdeploy deployments logs {deployment['id']}", style="dim"))
    return lines


def _output(text: str) -> Text:
    # Not broken into lines: that is the terminal's business, and who copies it gets it as it was.
    line = Text.assemble(("| ", "dim"), Text.from_ansi(colored(text)), no_wrap=True, overflow="ignore")
    line.rstrip()
    return line

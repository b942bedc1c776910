"""Tables for people, tabs for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from deploy.entrypoints.cli.client.address import page_url
from deploy.entrypoints.cli.client.screen import COLORS, Marks, console, is_interactive, marks_for
from deploy.entrypoints.cli.client.text import (
    colored,
    duration,
    local_time,
    one_line,
    printable,
    seconds_between,
    utc_now,
)
from deploy.entrypoints.cli.client.transcript import OutputLine

if TYPE_CHECKING:
    from rich.console import RenderableType

Fields = dict[str, Any]
# Below this width a table leaves out what can be had with `show`.
ROOMY = 78


def print_deployments(found: list[Fields], stream: TextIO) -> None:
    """Print a list of deployments."""
    if not is_interactive(stream):
        out = console(stream).file
        out.writelines(f"{deployment_record(fields)}\n" for fields in found)
        return
    from rich.table import Table
    from rich.text import Text

    out_console, marks = console(stream), marks_for(stream)
    roomy = out_console.width >= ROOMY
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("ID", "Service", "State", *(["By"] if roomy else []), "Created", "Took"):
        table.add_column(title, justify="right" if title in ("ID", "Took") else "left", no_wrap=title != "Service")
    for fields in found:
        state = str(fields["state"])
        by = [f"{printable(fields['user'])}, {printable(fields['origin'])}"] if roomy else []
        created = local_time(fields["created"])
        cells = [str(fields["id"]), printable(fields["service"])]
        table.add_row(
            *cells,
            Text(f"{marks.of(state)} {state}", style=COLORS.get(state, "")),
            *by,
            created if roomy else created[5:16],
            _took(fields),
        )
    out_console.print(table if found else Text("There are no such deployments.", style="dim"))


def deployment_record(fields: Fields) -> str:
    """Return a deployment as a line for scripts."""
    seconds = seconds_between(fields["started"], fields["finished"])
    parts = [fields["id"], fields["service"], fields["state"], fields["user"], fields["origin"], fields["created"]]
    return "\t".join([*(printable(str(part)) for part in parts), "" if seconds is None else f"{seconds:.3f}"])


def print_services(found: list[Fields], stream: TextIO) -> None:
    """Print a list of services."""
    if not is_interactive(stream):
        out = console(stream).file
        out.writelines(f"{service_record(fields)}\n" for fields in found)
        return
    from rich.table import Table
    from rich.text import Text

    marks = marks_for(stream)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("Service", style="bold", overflow="fold")
    table.add_column("Last deployment", no_wrap=True)
    table.add_column("Description")
    for fields in found:
        last = (fields["active_deployments"] or [fields["last_deployment"]])[0]
        state = str(last["state"]) if last else ""
        shown = f"{marks.of(state)} {state} ({last['id']})" if last else "never"
        table.add_row(
            printable(fields["name"]),
            Text(shown, style=COLORS.get(state, "dim")),
            one_line(str(fields["data"].get("description") or "")),
        )
    none = Text("There are no services yet. Read the folders with: fastdeploy services sync", style="dim")
    console(stream).print(table if found else none)


def service_record(fields: Fields) -> str:
    """Return a service as a line for scripts."""
    last = (fields["active_deployments"] or [fields["last_deployment"]])[0] or {}
    parts = [fields["id"], fields["name"], last.get("state", ""), last.get("created", "")]
    return "\t".join([*(printable(str(part)) for part in parts), one_line(fields["data"].get("description") or "")])


def print_inputs(asked: Fields, stream: TextIO) -> None:
    """Print what a service asks for: a line for each input (tabs where nobody looks), then what else to know."""
    from deploy.entrypoints.cli.client.inputs import input_record

    rows = input_record(asked["schema"]) if asked["schema"] else []
    if not is_interactive(stream):
        console(stream).file.writelines("\t".join(row) + "\n" for row in rows)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("Input", "Kind", "Needed", "Default", "Description"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out = console(stream)
    out.print(table if rows else Text("It asks for nothing; any -e KEY=VALUE reaches its script.", style="dim"))
    for problem in asked["problems"]:
        out.print(Text(f"{printable(problem['path'])}: {one_line(problem['detail'])}", style="yellow"))
    if asked["confirm"]:
        out.print(Text("Whoever starts it types its name (--confirm NAME).", style="dim"))


def print_deployment(fields: Fields, url: str, stream: TextIO) -> None:
    """Print a deployment: the reason first when it failed, then who, when and with what, then the steps."""
    out, marks = console(stream), marks_for(stream)
    with out.capture() as shown:
        out.print(*_deployment(fields, url, marks, out.width), sep="\n")
    text = shown.get()
    # Tables fill their lines with blanks; in a file nobody wants them.
    out.file.write(text if out.is_terminal else "".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def _deployment(fields: Fields, url: str, marks: Marks, width: int) -> Iterator[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    from deploy.entrypoints.cli.client.progress import step_row

    state = str(fields["state"])
    yield Text.assemble(
        (f"{marks.of(state)} {state}", f"bold {COLORS.get(state, '')}".strip()),
        f"{marks.between}{printable(fields['service'])}{marks.between}deployment {fields['id']}",
    )
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in facts_of(fields, url):
        facts.add_row(name, value)
    yield facts
    steps = fields["steps"]
    name_width = min(max((Text(one_line(step["name"])).cell_len for step in steps), default=0), width * 2 // 5)
    if steps:
        yield ""
    for step in steps:
        mark = Text(marks.of(step["state"]), style=COLORS.get(step["state"], ""))
        took = duration(seconds_between(step["started"], step["finished"]))
        yield step_row(step, mark, name_width=name_width, took=took, whole_message=True)
        for host in failed_hosts(step):
            yield Text(f"    {host}", style="red")


def facts_of(fields: Fields, url: str) -> list[tuple[str, str]]:
    """Return what is to be said of a deployment above its steps, as names and values."""
    waiting = fields.get("waiting")
    answers = (fields.get("context") or {}).get("env") or {}
    took = duration(seconds_between(fields["started"], fields["finished"], utc_now()))
    facts = [
        ("Reason", one_line(fields.get("reason") or "")),
        ("Waiting", one_line(waiting["reason"]) if waiting else ""),
        ("By", f"{printable(fields['user'])} from {printable(fields['origin'])}"),
        ("Created", local_time(fields["created"])),
        ("Took" if fields["finished"] else "Running for", took),
        ("Answers", " ".join(f"{one_line(key)}={one_line(str(value))}" for key, value in answers.items())),
        ("Retry of", str(fields["retry_of"] or "")),
        ("Output", f"{fields['lines']} lines: fastdeploy deployments logs {fields['id']}" if fields["lines"] else ""),
        ("Page", page_url(url, fields["id"])),
    ]
    return [(name, value) for name, value in facts if value]


def failed_hosts(step: Fields) -> list[str]:
    """Return a line for each host where a step went wrong."""
    bad = ("failed", "unreachable")
    hosts = [host for host in step.get("hosts") or [] if host["outcome"] in bad]
    return [f"{printable(host['host'])}: {host['outcome']}: {one_line(host['message'] or '')}" for host in hosts]


class LinePrinter:
    """Prints lines of output: in color on a terminal, as plain text elsewhere."""

    def __init__(self, stream: TextIO, *, with_times: bool) -> None:
        out = console(stream)
        self._stream = stream
        self._in_color = out.is_terminal and not out.no_color
        self._with_times = with_times
        self._ends = "\x1b[0m" if self._in_color else ""

    def print(self, line: OutputLine) -> None:
        """Print a line."""
        at = f"{line.at} " if self._with_times else ""
        if self._in_color and "\x1b" in line.text:
            self._stream.write(f"{at}{colored(line.text)}{self._ends}\n")
        else:
            self._stream.write(f"{at}{printable(line.text)}\n")


def _took(fields: Fields) -> str:
    return duration(seconds_between(fields["started"], fields["finished"]))

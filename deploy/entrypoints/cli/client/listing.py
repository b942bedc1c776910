"""Print lists and details as tables on a terminal and as tab-separated fields elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from deploy.domain.terminal import State
from deploy.entrypoints.cli.client.address import page_url
from deploy.entrypoints.cli.client.hosts import failed_hosts
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
# Tables narrower than this omit columns that `show` includes.
WIDE = 78


def print_deployments(found: list[Fields], stream: TextIO) -> None:
    """Print a list of deployments."""
    if not is_interactive(stream):
        out = console(stream).file
        out.writelines(f"{deployment_record(fields)}\n" for fields in found)
        return
    from rich.table import Table
    from rich.text import Text

    out_console, marks = console(stream), marks_for(stream)
    is_wide = out_console.width >= WIDE
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("ID", "Service", "State", *(["By"] if is_wide else []), "Created", "Took"):
        table.add_column(title, justify="right" if title in ("ID", "Took") else "left", no_wrap=title != "Service")
    for fields in found:
        state = str(fields["state"])
        by = [f"{printable(fields['user'])}, {printable(fields['origin'])}"] if is_wide else []
        created = local_time(fields["created"])
        cells = [str(fields["id"]), printable(fields["service"])]
        table.add_row(
            *cells,
            Text(f"{marks.of(state)} {state}", style=COLORS.get(state, "")),
            *by,
            created if is_wide else created[5:16],
            _took(fields),
        )
    out_console.print(table if found else Text("No deployments found.", style="dim"))


def deployment_record(fields: Fields) -> str:
    """Return a deployment as a tab-separated line."""
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
    none = Text("There are no services. Sync the service folders with: fastdeploy services sync", style="dim")
    console(stream).print(table if found else none)


def service_record(fields: Fields) -> str:
    """Return a service as a tab-separated line."""
    last = (fields["active_deployments"] or [fields["last_deployment"]])[0] or {}
    parts = [fields["id"], fields["name"], last.get("state", ""), last.get("created", "")]
    return "\t".join([*(printable(str(part)) for part in parts), one_line(fields["data"].get("description") or "")])


def print_inputs(inputs: Fields, stream: TextIO) -> None:
    """Print the inputs of a service, as a table with notes on a terminal and as tab-separated lines elsewhere."""
    from deploy.entrypoints.cli.client.inputs import input_record

    rows = input_record(inputs["schema"]) if inputs["schema"] else []
    if not is_interactive(stream):
        console(stream).file.writelines("\t".join(row) + "\n" for row in rows)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("Input", "Type", "Required", "Default", "Description"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out = console(stream)
    out.print(
        table if rows else Text("This service declares no inputs. Its script receives any -e KEY=VALUE.", style="dim")
    )
    for problem in inputs["problems"]:
        out.print(Text(f"{printable(problem['path'])}: {one_line(problem['detail'])}", style="yellow"))
    if inputs["confirm"]:
        out.print(
            Text(
                "Starting it requires confirmation: --confirm NAME, where NAME is the name of the service.",
                style="dim",
            )
        )


def print_deployment(fields: Fields, url: str, stream: TextIO) -> None:
    """Print the state, details, and steps of a deployment."""
    out, marks = console(stream), marks_for(stream)
    with out.capture() as shown:
        out.print(*_deployment(fields, url, marks, out.width), sep="\n")
    text = shown.get()
    # Tables pad their lines with spaces, which are useless in a file.
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
    details = Table.grid(padding=(0, 2))
    details.add_column(style="dim", no_wrap=True)
    details.add_column(overflow="fold")
    for name, value in deployment_details(fields, url):
        details.add_row(name, value)
    yield details
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


def deployment_details(fields: Fields, url: str) -> list[tuple[str, str]]:
    """Return the details of a deployment to show above its steps, as names and values."""
    waiting = fields.get("waiting")
    values = (fields.get("context") or {}).get("env") or {}
    took = duration(seconds_between(fields["started"], fields["finished"], utc_now()))
    details = [
        ("Reason", one_line(fields.get("reason") or "")),
        ("Hosts", _host_summary(fields)),
        ("Waiting", one_line(waiting["reason"]) if waiting else ""),
        ("By", f"{printable(fields['user'])} from {printable(fields['origin'])}"),
        ("Created", local_time(fields["created"])),
        ("Took" if fields["finished"] else "Running for", took),
        ("Values", " ".join(f"{one_line(key)}={one_line(str(value))}" for key, value in values.items())),
        ("Retry of", str(fields["retry_of"] or "")),
        ("Output", f"{fields['lines']} lines: fastdeploy deployments logs {fields['id']}" if fields["lines"] else ""),
        ("Page", page_url(url, fields["id"])),
    ]
    return [(name, value) for name, value in details if value]


class LinePrinter:
    """Prints lines of output, in color on a terminal and as plain text elsewhere."""

    def __init__(self, stream: TextIO, *, with_times: bool) -> None:
        out = console(stream)
        self._stream = stream
        self._in_color = out.is_terminal and not out.no_color
        self._with_times = with_times
        self._state = State()

    def print(self, line: OutputLine) -> None:
        """Print a line."""
        at = f"{line.at} " if self._with_times else ""
        text, self._state = colored(line.text, self._state) if self._in_color else (printable(line.text), self._state)
        self._stream.write(f"{at}{text}\n")


def _host_summary(fields: Fields) -> str:
    hosts = fields.get("hosts")
    if not hosts or hosts["total"] == 1:
        return ""
    counts = ", ".join(
        f"{hosts[name]} {name}" for name in ("unreachable", "failed", "changed", "ok") if hosts.get(name)
    )
    return f"{hosts['total']} ({counts}): fastdeploy deployments hosts {fields['id']}"


def _took(fields: Fields) -> str:
    return duration(seconds_between(fields["started"], fields["finished"]))

"""Show results of steps on hosts: counts, failures, and the recap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from deploy.domain.model import BAD_OUTCOMES, Outcome
from deploy.entrypoints.cli.client.screen import console, is_interactive
from deploy.entrypoints.cli.client.text import one_line, printable

if TYPE_CHECKING:
    from rich.table import Table

Fields = dict[str, Any]
COLUMNS = ("ok", "changed", "failed", "unreachable", "skipped", "rescued", "ignored")
# Failures first.
_ORDER = sorted(Outcome, key=lambda outcome: outcome not in BAD_OUTCOMES)
# Characters of a message in a line about a step or a host.
MESSAGE_LENGTH = 500


def count_text(step: Fields) -> str:
    """Return the number of hosts by outcome, failures first: "2 failed, 198 changed"."""
    counts = step.get("host_counts") or {}
    return ", ".join(f"{counts[outcome.value]} {outcome.value}" for outcome in _ORDER if counts.get(outcome.value))


def step_summary(step: Fields) -> str:
    """Return a line about a step: the number of hosts by outcome if there are several, or its message."""
    several = sum((step.get("host_counts") or {}).values()) > 1
    return count_text(step) if several else short_line(step.get("message") or "")


def short_line(text: str) -> str:
    """Return a message as a line of limited length."""
    line = one_line(text)
    return line if len(line) <= MESSAGE_LENGTH else f"{line[:MESSAGE_LENGTH]}…"


def host_line(result: Fields) -> str:
    """Return a line about a result: "web1: failed: no space left on device"."""
    message = short_line(result["message"] or "")
    return f"{printable(result['host'])}: {result['outcome']}" + (f": {message}" if message else "")


def failed_hosts(step: Fields) -> list[str]:
    """Return a line for each host on which a step failed, and the number of those that the server left out."""
    bad = [result for result in step.get("hosts") or [] if result["outcome"] in BAD_OUTCOMES]
    counts = step.get("host_counts") or {}
    rest = sum(counts.get(outcome.value, 0) for outcome in BAD_OUTCOMES) - len(bad)
    return [*map(host_line, bad), *([f"and {rest} more hosts"] if rest > 0 else [])]


def print_recap(hosts: list[Fields], stream: TextIO) -> None:
    """Print a recap: a table on a terminal, tab-separated lines elsewhere."""
    out = console(stream)
    if not is_interactive(stream):
        out.file.writelines(
            "\t".join([printable(host["host"]), *(str(host[name]) for name in COLUMNS)]) + "\n" for host in hosts
        )
        return
    from rich.text import Text

    out.print(recap_table(hosts) if hosts else Text("No results on hosts.", style="dim"))


def recap_table(hosts: list[Fields]) -> Table:
    """Return a recap as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("Host", overflow="fold")
    for name in COLUMNS:
        table.add_column(name.capitalize(), justify="right")
    for host in hosts:
        style = "red" if host["failed"] or host["unreachable"] else ""
        table.add_row(Text(printable(host["host"]), style=style), *(str(host[name]) for name in COLUMNS))
    return table

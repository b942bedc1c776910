"""Options shared by several commands, and the parsing of values given with `-e`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

MAX_KEY_LENGTH = 200


def validate_key(key: str | None) -> str | None:
    """Return the Idempotency-Key if it is valid in a header.

    Raises:
        typer.BadParameter: The key is invalid.
    """
    if key is not None and not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise typer.BadParameter(f"A key must have 1 to {MAX_KEY_LENGTH} printable ASCII characters.")
    return key


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Watch = Annotated[bool, typer.Option("--watch/--no-watch", "-w", help="Watch the deployment until it ends.")]
Output = Annotated[bool, typer.Option("--output", "-o", help="Show output while watching.")]
DeploymentId = Annotated[int, typer.Argument(metavar="ID", min=1, help="ID of the deployment.")]
Key = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        metavar="KEY",
        callback=validate_key,
        help="Start at most one deployment per key, such as a build number. Default: a new key.",
    ),
]
Values = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        "-e",
        metavar="KEY=VALUE",
        help="Set the value of an input. Can be repeated. For secrets and multiline text, KEY=@FILE reads the value from a "
        "file and KEY=@- from standard input.",
    ),
]
Confirm = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Confirm with the name of the service, if it requires confirmation."),
]
Ask = Annotated[
    bool | None,
    typer.Option(
        "--ask/--no-ask",
        help="On a terminal, prompt for all inputs or for none. Default: prompt for required inputs.",
    ),
]
ValuesFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Read KEY=VALUE lines from a file, or from standard input with -. Keeps values out of process lists.",
    ),
]

EXIT_CODES_HELP = (
    "Exit codes: 0 success; 1 the deployment failed; 2 usage error; 3 the deployment was cancelled; "
    "4 other error (server unreachable, not signed in, request refused); 130 interrupted with Ctrl-C."
)


def examples(*lines: str, note: str = "") -> str:
    """Return the epilog of a command's help."""
    # \\b prevents rewrapping of the lines.
    shown = "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
    return f"{shown}\n\n{note}" if note else shown


def read_values(given: Sequence[str], file: str | None) -> dict[str, str]:
    """Return the values from a file and from `-e`, which overrides the file.

    Raises:
        typer.BadParameter: A value has no `=` or no name, a name is given twice, or the file cannot be read.
    """
    from_file = parse_values(numbered_lines(_read(file)), "--env-file") if file is not None else {}
    return {**from_file, **parse_values([(repr(text), text) for text in given], "-e")}


def numbered_lines(text: str) -> list[tuple[str, str]]:
    """Return the lines of a file with their labels. Skip empty lines and comments."""
    lines = ((f"line {number}", line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return [(label, line) for label, line in lines if line and not line.startswith("#")]


def parse_values(given: Iterable[tuple[str, str]], where: str) -> dict[str, str]:
    """Parse labeled `KEY=VALUE` texts. The value is everything after the first `=`, unchanged.

    Errors contain the label instead of the text, which could be secret.

    Raises:
        typer.BadParameter: A text has no `=` or no name, or a name is given twice.
    """
    values: dict[str, str] = {}
    for label, text in given:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise typer.BadParameter(f"{label} is not KEY=VALUE.", param_hint=where)
        if key in values:
            raise typer.BadParameter(f"{key} is given twice.", param_hint=where)
        values[key] = value
    return values


def _read(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.read()
        with open(file, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise typer.BadParameter(f"{file} cannot be read ({reason}).", param_hint="--env-file") from error

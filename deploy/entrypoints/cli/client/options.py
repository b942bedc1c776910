"""Options that several commands share, and how the answers given with `-e` are read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

LONGEST_KEY = 200


def checked_key(key: str | None) -> str | None:
    """Return the Idempotency-Key if a header can carry it.

    Raises:
        typer.BadParameter: it cannot.
    """
    if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise typer.BadParameter(f"A key has 1 to {LONGEST_KEY} ASCII characters.")
    return key


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Watch = Annotated[bool, typer.Option("--watch/--no-watch", "-w", help="Watch it live until it has ended.")]
Output = Annotated[bool, typer.Option("--output", "-o", help="While watching, show every line of output, too.")]
DeploymentId = Annotated[int, typer.Argument(metavar="ID", min=1, help="The deployment's number.")]
Key = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        metavar="KEY",
        callback=checked_key,
        help="Start at most one deployment for this key, for example the number of the build. (default: a new key)",
    ),
]
Answers = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        "-e",
        metavar="KEY=VALUE",
        help="An answer to what the service asks for; may be repeated. KEY=@FILE reads a secret or a long text from a "
        "file (@- from standard input).",
    ),
]
Confirm = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The name of the service, where it asks to be confirmed by it."),
]
Ask = Annotated[
    bool | None,
    typer.Option(
        "--ask/--no-ask",
        help="On a terminal: ask for every input, or for none. (default: for those that are needed)",
    ),
]
AnswersFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="A file with KEY=VALUE lines (- reads standard input): for values that no list of processes should show.",
    ),
]

EXIT_CODES_HELP = (
    "Exit codes: 0 done, or with --watch: success; 1 failure; 2 wrong usage; 3 cancelled; "
    "4 could not be done (no server, not signed in, refused); 130 stopped watching with Ctrl-C."
)


def examples(*lines: str, note: str = "") -> str:
    """Return the end of a command's help."""
    # \\b keeps the lines apart.
    shown = "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
    return f"{shown}\n\n{note}" if note else shown


def read_answers(given: Sequence[str], file: str | None) -> dict[str, str]:
    """Return the answers from the lines of a file and from `-e`, which wins.

    Raises:
        typer.BadParameter: one has no `=` or no name, one is given twice, the file cannot be read.
    """
    from_file = answers_of(numbered_lines(_read(file)), "--env-file") if file is not None else {}
    return {**from_file, **answers_of([(repr(text), text) for text in given], "-e")}


def numbered_lines(text: str) -> list[tuple[str, str]]:
    """Return the lines of a file with their labels; empty ones and those that begin with `#` do not count."""
    lines = ((f"line {number}", line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return [(label, line) for label, line in lines if line and not line.startswith("#")]


def answers_of(given: Iterable[tuple[str, str]], where: str) -> dict[str, str]:
    """Return labelled `KEY=VALUE` texts as a dictionary; everything after the first `=` is the value, as it is.

    Errors name the label, not the text: it may hold a secret.

    Raises:
        typer.BadParameter: one has no `=` or no name, or a name comes twice.
    """
    answers: dict[str, str] = {}
    for label, text in given:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise typer.BadParameter(f"{label} is not KEY=VALUE.", param_hint=where)
        if key in answers:
            raise typer.BadParameter(f"{key} is given twice.", param_hint=where)
        answers[key] = value
    return answers


def _read(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.read()
        with open(file, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise typer.BadParameter(f"{file} cannot be read ({reason}).", param_hint="--env-file") from error

"""Find the reason that Ansible printed for ending a playbook, in the last lines of its output."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Errors that end a playbook are long, but not longer than this.
LAST_LINES = 200
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
# ansible-core 2.19 and later, and earlier versions.
_PREFIXES = ("[ERROR]: ", "ERROR! ")
_PLACE = re.compile(
    r"Origin: (?P<new>.+:\d+(?::\d+)?)|The error appears to be in '(?P<file>.+)': line (?P<line>\d+), column (?P<column>\d+)"
)
# Before 2.19, a file with invalid YAML was also tried as JSON, and the problem is not in the first line.
_JSON_NOR_YAML, _YAML_PROBLEM = "We were unable to read either as JSON nor YAML", "Syntax Error while loading YAML."


def ansible_error(lines: Sequence[str]) -> str:
    """Return the last error in the output of Ansible and its place in a file, or an empty string."""
    plain = [_COLORS.sub("", line) for line in lines]
    for start in range(len(plain) - 1, -1, -1):
        prefix = next((prefix for prefix in _PREFIXES if plain[start].startswith(prefix)), None)
        if prefix is not None:
            return _described(plain[start].removeprefix(prefix).strip(), plain[start + 1 :])
    return ""


def _described(problem: str, more: Sequence[str]) -> str:
    if problem.startswith(_JSON_NOR_YAML) and _YAML_PROBLEM in more:
        following = more[more.index(_YAML_PROBLEM) + 1 :]
        problem = f"Invalid YAML: {following[0].strip()}" if following else problem
    found = next((match for line in more if (match := _PLACE.match(line))), None)
    if found is None:
        return problem
    place = found["new"] or f"{found['file']}:{found['line']}:{found['column']}"
    return f"{problem} ({place})"

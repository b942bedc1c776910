"""Ask the installed Ansible which names cannot be used for variables."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache

from deploy.adapters.ansible.command import is_variable

SECONDS = 30.0
# Runs in a Python that has Ansible: reads names, and prints those that cannot be used, as JSON.
_PROGRAM = """
import json, sys
from ansible import constants
from ansible.utils.vars import isidentifier
from ansible.vars.reserved import get_reserved_names
from jinja2 import Environment, TemplateSyntaxError, nodes

def is_name(text):
    try:
        [output] = Environment().parse("{{ " + text + " }}").body
        [node] = output.nodes
    except (TemplateSyntaxError, ValueError, AttributeError):
        return False
    return isinstance(node, nodes.Name)

reserved = get_reserved_names() | set(constants.INTERNAL_STATIC_VARS)
names = json.load(sys.stdin)
print(json.dumps([name for name in names if name in reserved or not isidentifier(name) or not is_name(name)]))
"""


def unusable_names(names: Iterable[str]) -> list[str]:
    """Return the names that do not become variables of a playbook, or that Ansible itself reserves."""
    wanted = tuple(names)
    possible = tuple(name for name in wanted if is_variable(name))
    reserved = _reserved(possible) if possible else frozenset()
    return [name for name in wanted if name not in possible or name in reserved]


@lru_cache(maxsize=256)
def _reserved(names: tuple[str, ...]) -> frozenset[str]:
    """Return the names that Ansible reserves, or none if Ansible is not installed with this server."""
    argv = [sys.executable, "-I", "-c", _PROGRAM]
    try:
        found = subprocess.run(
            argv, input=json.dumps(names), capture_output=True, text=True, timeout=SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return frozenset()
    return frozenset(json.loads(found.stdout))

"""Import the supervisor's modules from memory, for a deploy user who cannot read our files.

Python receives the source of this module and a call to `import_from` as one argument.
"""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

PACKAGE = "supervisor"


class InMemory:
    """Finds and loads the modules in `sources` by their full names."""

    def __init__(self, sources: dict[str, str]) -> None:
        self._sources = sources

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if name not in self._sources:
            return None
        return ModuleSpec(name, self, is_package=name == PACKAGE)  # type: ignore[arg-type]

    def create_module(self, _spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        exec(compile(self._sources[name], f"<{name}>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102


def import_from(sources: dict[str, str]) -> None:
    """From now on, import the modules in `sources` (source text by full name) from memory."""
    sys.meta_path.insert(0, InMemory(sources))

"""The settings of a run."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class NotStarted(Exception):
    """The script cannot be started. The message says which file, why, and what to do."""


class Spec:
    """What to run. `RunSpec` (../directory.py) describes the fields."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.argv: list[str] = list(data["argv"])
        self.cwd: str = data["cwd"]
        self.env: dict[str, str] = dict(data["env"])
        self.files: dict[str, str] = dict(data.get("files") or {})
        self.timeout: float | None = data.get("timeout")
        self.grace: float = data.get("grace", 5.0)
        self.interrupt: bool = data.get("interrupt", False)
        self.events: bool = data.get("events", False)
        self.output_limit: int = data["output_limit"]
        self.line_limit: int = data["line_limit"]
        if not self.argv:
            raise ValueError("argv is empty")

    def for_folder(self, folder: str) -> tuple[list[bytes], dict[bytes, bytes]]:
        """Return the arguments and environment as bytes, with the path of the private folder filled in."""

        def filled(text: str) -> bytes:
            data = os.fsencode(text.replace("%RUN_DIR%", folder))
            if b"\0" in data:
                raise ValueError("the arguments or the environment contain a NUL character")
            return data

        return [filled(argument) for argument in self.argv], {
            filled(name): filled(value) for name, value in self.env.items()
        }

"""The context of every measurement: the running product, and how thorough the measurement is."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.product import Product


@dataclass(frozen=True)
class Bench:
    """The product, its services by name, a folder for files, and whether this is a smoke run."""

    product: Product
    services: dict[str, int]
    folder: Path
    quick: bool

    def rounds(self, usual: int) -> int:
        """Return the number of repetitions."""
        return 1 if self.quick else usual

    @contextmanager
    def times_file(self) -> Iterator[TimesFile]:
        """Yield a file in which a script records when its output began and ended."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            yield TimesFile(Path(folder) / "times")


@dataclass(frozen=True)
class TimesFile:
    """The file that scripts/common.py writes."""

    path: Path

    def __str__(self) -> str:
        """Return its path."""
        return str(self.path)

    def read(self) -> tuple[int, int]:
        """Return when the output began and ended (monotonic nanoseconds)."""
        began, ended = json.loads(self.path.read_text())
        return began, ended


def is_end(message: dict[str, Any], deployment_id: int) -> bool:
    """Return True if a message from the live channel reports the end of a deployment."""
    return (
        message["type"] == "deployment"
        and message["deployment_id"] == deployment_id
        and message["state"] in ("success", "failure", "cancelled")
    )

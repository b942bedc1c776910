"""Shared by the scripts, which receive their values with the deployment and write their times to a file."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


def settings() -> dict[str, Any]:
    """Return the values of the deployment."""
    env: dict[str, Any] = json.loads(Path(os.environ["DEPLOY_CONFIG_FILE"]).read_text())["context"]["env"]
    return env


def print_all(text: str, times_file: str) -> None:
    """Write `text` to standard output as fast as possible. Record when writing began and ended (monotonic, ns)."""
    data, began = memoryview(text.encode()), time.monotonic_ns()
    while data:
        data = data[os.write(1, data) :]
    Path(times_file).write_text(json.dumps([began, time.monotonic_ns()]))

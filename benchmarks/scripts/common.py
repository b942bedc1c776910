"""What the scripts share: their settings come with the deployment, their times leave through a file."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


def settings() -> dict[str, Any]:
    """Return what the deployment was started with."""
    env: dict[str, Any] = json.loads(Path(os.environ["DEPLOY_CONFIG_FILE"]).read_text())["context"]["env"]
    return env


def print_all(text: str, times_file: str) -> None:
    """Write `text` to standard output as fast as it is taken, and note when that began and ended (monotonic, ns)."""
    data, began = memoryview(text.encode()), time.monotonic_ns()
    while data:
        data = data[os.write(1, data) :]
    Path(times_file).write_text(json.dumps([began, time.monotonic_ns()]))

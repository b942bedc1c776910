"""Measure the time from the start of the process to the first 200 from /health/ready."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import median
from benchmarks.product import Product
from benchmarks.table import Row

# The first is a ratio to importing the libraries alone, the second is in seconds.
READY_GOAL, NEW_GOAL = 1.4, 5.0
# Creating a database takes longer, so measure it only this many times.
NEW = 3
# The modules that any server of this kind has to import.
IMPORTS = "import asyncpg, fastapi, pydantic_settings, sqlalchemy.ext.asyncio, sqlalchemy.orm, typer, uvicorn, uvloop, websockets"


def measure_start(folder: Path, services_dir: Path, initialized: Path, *, rounds: int) -> list[Row]:
    """Measure starts with an existing database (`initialized`) and without one."""
    new, again, imports = [], [], []
    for number in range(rounds):
        imports.append(_imports())
        again.append(_start(initialized, services_dir))
        fresh = folder / f"new-{number}"
        if number < NEW:
            new.append(_start(fresh, services_dir))
            shutil.rmtree(fresh)
    loading = f"the imports alone {median(imports):.2f} s"
    ratio = median([start / loads for start, loads in zip(again, imports, strict=True)])
    return [
        Row(
            what="cold start to the first 200, database initialized",
            measured=f"{median(again):.2f} s (best {min(again):.2f} s)",
            baseline=loading,
            ratio=f"{ratio:.2f}",
            goal=f"≤ {READY_GOAL}",
            good=ratio <= READY_GOAL,
        ),
        Row(
            what="cold start to the first 200, new bundled database",
            measured=f"{median(new):.2f} s (best {min(new):.2f} s)",
            baseline=loading,
            ratio=f"{median(new) / median(imports):.2f}",
            goal=f"≤ {NEW_GOAL} s",
            good=median(new) <= NEW_GOAL,
        ),
    ]


def _start(data_dir: Path, services_dir: Path) -> float:
    product = Product(data_dir, services_dir)
    product.stop()
    return product.started_in


def _imports() -> float:
    began = time.monotonic_ns()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return (time.monotonic_ns() - began) / 1e9

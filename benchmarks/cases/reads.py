"""Measure reads under load, compared with a bare FastAPI and asyncpg application on the same database."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks import history, http_load
from benchmarks.bench import Bench
from benchmarks.machine import cpu_seconds, median
from benchmarks.product import free_port
from benchmarks.table import Row, attempt

CLIENTS = 16
GOAL = 0.6
# The rate is considered independent of the history's length if short and long histories differ by no more than this.
TOLERANCE = 0.25
ROUNDS, SECONDS = 3, 0.7
PATHS = ("/deployments/", "/services/")
SHORT, FILLED, LONG = 10, 100, 10_000


@dataclass
class Rates:
    """Requests per second of elapsed time and per second of the server's processor time, in each round."""

    rate: list[float] = field(default_factory=list)
    per_cpu: list[float] = field(default_factory=list)

    def add(self, port: int, path: str, pid: int, *, token: str, seconds: float) -> http_load.Load:
        """Measure one round."""
        used = cpu_seconds(pid)
        found = http_load.measure(port, path, token=token, clients=CLIENTS, seconds=seconds)
        self.rate.append(found.rate)
        self.per_cpu.append(found.requests / (cpu_seconds(pid) - used))
        return found


def measure_reads(bench: Bench) -> list[Row]:
    """Measure GET /deployments/ and GET /services/ with a short and a long history."""
    rows: list[Row] = []
    alone: dict[tuple[int, str], float] = {}
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare_app", bench.product.database_url, str(port)]
    bare = subprocess.Popen(command)
    try:
        wait_for(port)
        for deployments in (SHORT, FILLED, LONG):
            history.seed(bench.product.database_url, deployments)
            for path in PATHS:
                if deployments != FILLED:
                    compare = partial(_compare, bench, path, deployments, port, bare.pid)
                    rows += attempt(f"GET {path}, {deployments} deployments", compare)
                if deployments != SHORT:
                    # The shortest history that fills a page is the baseline for a longer one.
                    alone[deployments, path] = _alone(bench, path)
    finally:
        bare.terminate()
        bare.wait()
    return [*rows, *(_independence(path, alone[FILLED, path], alone[LONG, path]) for path in PATHS)]


def _alone(bench: Bench, path: str) -> float:
    ours = Rates()
    for _ in range(bench.rounds(ROUNDS)):
        ours.add(bench.product.port, path, bench.product.pid, token=bench.product.token, seconds=SECONDS)
    return median(ours.per_cpu)


def wait_for(port: int) -> None:
    """Wait until an application responds."""
    for _ in range(500):
        try:
            with urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5):
                return
        except (URLError, ConnectionError):
            time.sleep(0.02)
    raise TimeoutError("The bare application did not respond in time.")


def _compare(bench: Bench, path: str, deployments: int, port: int, pid: int) -> list[Row]:
    ours, plain, models = Rates(), Rates(), Rates()
    for _ in range(bench.rounds(ROUNDS)):
        bodies = {
            ours.add(bench.product.port, path, bench.product.pid, token=bench.product.token, seconds=SECONDS).body,
            plain.add(port, path, pid, token="-", seconds=SECONDS).body,
            models.add(port, f"/models{path}", pid, token="-", seconds=SECONDS).body,
        }
        if len(bodies) != 1:
            raise RuntimeError(f"The bare application's response to {path} differs.")
    faster = max(plain, models, key=lambda rates: median(rates.per_cpu))
    ratio = median([mine / theirs for mine, theirs in zip(ours.rate, faster.rate, strict=True)])
    by_cpu = median(ours.per_cpu) / median(faster.per_cpu)
    return [
        Row(
            what=f"GET {path}, {CLIENTS} clients, {deployments} deployments",
            measured=f"{median(ours.rate):.0f}/s",
            baseline=f"{median(plain.rate):.0f}/s (dicts), {median(models.rate):.0f}/s (models)",
            ratio=f"{ratio:.0%}; by processor time {by_cpu:.0%}",
            goal=f"≥ {GOAL:.0%}",
            good=ratio >= GOAL,
        )
    ]


def _independence(path: str, short: float, long: float) -> Row:
    return Row(
        what=f"GET {path}: {LONG} vs. {FILLED} deployments, requests per processor second",
        measured=f"{long:.0f}",
        baseline=f"{short:.0f}",
        ratio=f"{long / short:.2f}",
        goal=f"≥ {1 - TOLERANCE:.2f}",
        good=long / short >= 1 - TOLERANCE,
    )

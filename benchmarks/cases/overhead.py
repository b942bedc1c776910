"""Measure the platform's overhead for a single deployment and for twenty at once."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.bench import Bench, is_end
from benchmarks.folders import AT_ONCE
from benchmarks.frames import LiveSocket
from benchmarks.machine import median, percentile
from benchmarks.table import Row

DEPLOYMENTS = 40
OVERHEAD_GOAL_MS = 60
AT_ONCE_GOAL = 1.7


def measure_overhead(bench: Bench) -> list[Row]:
    """Measure a deployment from the POST until the client sees its end.

    The time that the script takes alone is subtracted.
    """
    script = bench.product.services_dir / "one-step" / "one_step.sh"
    through, bare = [], []
    token = bench.product.service_token("one-step")
    with bench.product.live() as client:
        for _ in range(5 if bench.quick else DEPLOYMENTS):
            through.append(_deployed(bench, client, token))
            bare.append(_bare(script))
    overhead = median(through) - median(bare)
    return [
        Row(
            what=f"overhead of a deployment: POST → end seen, minus the script (median of {len(through)})",
            measured=f"{overhead:.0f} ms (p90 {percentile(through, 90) - median(bare):.0f} ms)",
            baseline=f"script alone {median(bare):.1f} ms",
            goal=f"≤ {OVERHEAD_GOAL_MS} ms",
            good=overhead <= OVERHEAD_GOAL_MS,
        )
    ]


def _deployed(bench: Bench, client: LiveSocket, token: str) -> float:
    began = time.monotonic_ns()
    deployment_id = int(bench.product.call("POST", "/deployments/", {"env": {}}, token=token)["id"])
    end = client.until(lambda message: is_end(message, deployment_id))
    if end["state"] != "success":
        raise RuntimeError(f"Deployment {deployment_id}: {end['reason']}")
    return (client.seen_at - began) / 1e6


def _bare(script: Path) -> float:
    began = time.monotonic_ns()
    subprocess.run([script], check=True, stdout=subprocess.PIPE)
    return (time.monotonic_ns() - began) / 1e6


def measure_at_once(bench: Bench) -> list[Row]:
    """Measure twenty services deployed at the same moment, compared with one service alone."""
    names = [f"sleeper-{number:02d}" for number in range(1, AT_ONCE + 1)]
    ids = [bench.services[name] for name in names]
    script = bench.product.services_dir / names[0] / "sleeper.sh"
    alone, together, bare_alone, bare_together = [], [], [], []
    for _ in range(bench.rounds(3)):
        alone.append(_all(bench, ids[:1]))
        together.append(_all(bench, ids))
        bare_alone.append(_all_bare(script, 1))
        bare_together.append(_all_bare(script, AT_ONCE))
    ratio = median(together) / median(alone)
    return [
        Row(
            what=f"{AT_ONCE} deployments at once (0.5 s script), total vs. one alone",
            measured=f"{median(together):.2f} s, alone {median(alone):.2f} s",
            baseline=f"the scripts without fastDeploy: {median(bare_together):.2f} s, alone {median(bare_alone):.2f} s",
            ratio=f"{ratio:.2f}",
            goal=f"≤ {AT_ONCE_GOAL}",
            good=ratio <= AT_ONCE_GOAL,
        )
    ]


def _all(bench: Bench, service_ids: list[int]) -> float:
    with bench.product.live() as client, ThreadPoolExecutor(len(service_ids)) as pool:
        began = time.monotonic_ns()
        # A thread can be slower than the deployment that another thread started.
        posted = pool.map(bench.product.deploy, service_ids)
        ended: dict[int, str] = {}
        while len(ended) < len(service_ids):
            message = client.receive()
            if message["type"] == "deployment" and is_end(message, message["deployment_id"]):
                ended[message["deployment_id"]] = message["state"]
        seconds = (client.seen_at - began) / 1e9
        _check(bench, sorted(posted), ended)
    return seconds


def _check(bench: Bench, deployment_ids: list[int], ended: dict[int, str]) -> None:
    if ended != dict.fromkeys(deployment_ids, "success"):
        raise RuntimeError(f"Not all deployments succeeded: {ended}")
    for deployment_id in deployment_ids:
        steps = bench.product.call("GET", f"/steps/?deployment_id={deployment_id}")
        if [(step["name"], step["state"]) for step in steps] != [(f"Step {n}", "success") for n in range(1, 6)]:
            raise RuntimeError(f"Deployment {deployment_id} has unexpected steps: {steps}")


def _all_bare(script: Path, count: int) -> float:
    began = time.monotonic_ns()
    processes = [subprocess.Popen([script], stdout=subprocess.DEVNULL) for _ in range(count)]
    for process in processes:
        process.wait()
    return (time.monotonic_ns() - began) / 1e9

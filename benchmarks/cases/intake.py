"""Measure how fast a script's steps and plain lines are stored and shown."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.bench import Bench, is_end
from benchmarks.frames import LiveSocket
from benchmarks.machine import median
from benchmarks.scripts.lines import text
from benchmarks.table import Row

STEPS = 1000
STEPS_GOAL = 5000
AFTER_GOAL = 0.5
LINES = 200_000
LINES_GOAL = 20_000


@dataclass(frozen=True)
class Timing:
    """Seconds until everything was shown, measured from the first output and (`after`) from the end of the script."""

    seconds: float
    after: float
    messages: list[dict[str, Any]]


def measure_steps(bench: Bench) -> list[Row]:
    """Measure 1,000 and 5,000 unplanned steps, and 1,000 steps that the last deployment planned."""
    services = [bench.services[f"steps-{number}"] for number in (1, 2, 3)][: bench.rounds(3)]
    new = [_steps(bench, service, STEPS) for service in services]
    known = [_steps(bench, service, STEPS) for service in services]
    many = [_steps(bench, bench.services["steps-4"], 5 * STEPS)] if not bench.quick else []
    return [
        _steps_row(f"{STEPS} steps from a script that prints as fast as it can", STEPS, new),
        _steps_row(f"the same, when all {STEPS} were planned (shown as pending)", STEPS, known),
        *([_steps_row(f"{5 * STEPS} steps", 5 * STEPS, many)] if many else []),
        Row(
            what=f"{STEPS} steps: shown as finished after the end of the script",
            measured=f"{median([run.after for run in [*new, *known]]):.2f} s "
            f"(slowest {max(run.after for run in [*new, *known]):.2f} s)",
            goal=f"≤ {AFTER_GOAL} s",
            good=median([run.after for run in [*new, *known]]) <= AFTER_GOAL,
        ),
    ]


def _steps_row(what: str, count: int, runs: list[Timing]) -> Row:
    rate = count / median([run.seconds for run in runs])
    return Row(
        what=f"{what}: stored and shown",
        measured=f"{rate:.0f} steps/s",
        goal=f"≥ {STEPS_GOAL}/s",
        good=rate >= STEPS_GOAL,
    )


def _steps(bench: Bench, service_id: int, count: int) -> Timing:
    timing = _watched(bench, service_id, count, output=False)
    done = [
        message["name"] for message in timing.messages if message["type"] == "step" and message["state"] == "success"
    ]
    if done != [f"Step {number}" for number in range(1, count + 1)]:
        raise RuntimeError(f"Only {len(done)} of {count} steps were shown in order.")
    return timing


def measure_lines(bench: Bench) -> list[Row]:
    """Measure lines of plain output. Compare each line in the subscription and in the download."""
    count = LINES // 10 if bench.quick else LINES
    runs = [_lines(bench, count) for _ in range(bench.rounds(2))]
    rate = count / median([run.seconds for run in runs])
    bare = median([_bare_lines(bench, count) for _ in runs])
    return [
        Row(
            what=f"{count} lines of 80 characters: stored and shown to a subscriber, none lost",
            measured=f"{rate:.0f} lines/s, {median([run.after for run in runs]):.2f} s after the script's end",
            baseline=f"the script into `cat >/dev/null`: {count / bare:.0f} lines/s",
            ratio=f"{rate * bare / count:.1%}",
            goal=f"≥ {LINES_GOAL}/s",
            good=rate >= LINES_GOAL,
        )
    ]


def _lines(bench: Bench, count: int) -> Timing:
    timing = _watched(bench, bench.services["lines"], count, output=True)
    lines = [line for message in timing.messages if message["type"] == "output" for line in message["lines"]]
    if [line[0] for line in lines] != list(range(1, count + 1)):
        raise RuntimeError(f"{len(lines)} of {count} lines were shown, or their order is wrong.")
    expected = "".join(f"{text(number)}\n" for number in range(1, count + 1)).encode()
    shown = "".join(f"{line[2]}\n" for line in lines).encode()
    deployment_id = timing.messages[-1]["deployment_id"]
    if len({hashlib.sha256(output).digest() for output in (expected, shown, _download(bench, deployment_id))}) != 1:
        raise RuntimeError("The shown or stored output differs from what the script printed.")
    return timing


def _download(bench: Bench, deployment_id: int) -> bytes:
    address = f"http://127.0.0.1:{bench.product.port}/deployments/{deployment_id}/output.txt"
    with urlopen(Request(address, headers={"Authorization": f"Bearer {bench.product.token}"}), timeout=60) as answer:
        content: bytes = answer.read()
    return content


def _bare_lines(bench: Bench, count: int) -> float:
    with bench.times_file() as times:
        config = times.path.with_name("config.json")
        config.write_text(json.dumps({"context": {"env": {"count": count, "times": str(times)}}}))
        printing = subprocess.Popen(
            [sys.executable, bench.product.services_dir / "lines" / "lines.py"],
            stdout=subprocess.PIPE,
            env={"DEPLOY_CONFIG_FILE": str(config)},
        )
        subprocess.run(["cat"], stdin=printing.stdout, stdout=subprocess.DEVNULL, check=True)
        printing.wait()
        began, ended = times.read()
    return (ended - began) / 1e9


def _watched(bench: Bench, service_id: int, count: int, *, output: bool) -> Timing:
    with bench.product.live() as client, bench.times_file() as times:
        deployment_id = bench.product.deploy(service_id, count=count, times=str(times))
        if output:
            client.send({"subscribe": {"deployment_id": deployment_id, "after": 0}})
        messages = _until_end(client, deployment_id)
        began, ended = times.read()
        return Timing((client.seen_at - began) / 1e9, (client.seen_at - ended) / 1e9, messages)


def _until_end(client: LiveSocket, deployment_id: int) -> list[dict[str, Any]]:
    messages = []
    while True:
        message = client.receive()
        if message.get("deployment_id") == deployment_id:
            messages.append(message)
            if is_end(message, deployment_id):
                break
    if messages[-1]["state"] != "success":
        raise RuntimeError(f"Deployment {deployment_id}: {messages[-1]['reason']}")
    return messages

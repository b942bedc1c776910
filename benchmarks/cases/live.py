"""Measure the live channel: the latency from a line of output to the clients, and the fan-out of events."""

from __future__ import annotations

import asyncio
import time

import asyncpg

from benchmarks.bench import Bench
from benchmarks.clients import Crowd, Seen
from benchmarks.machine import median, percentile
from benchmarks.table import Row

EVERY = 0.025
LINES = 200
FIRST = 20
P50_GOAL_MS = 10
# The goal for the p99 (ms) at each number of clients.
P99_GOALS_MS = {1: 50, 10: 50, 100: 60}
CLIENTS, STEPS = 200, 200
DELIVERIES_GOAL = 20_000


def measure_latency(bench: Bench) -> list[Row]:
    """Measure one line every 25 ms with 1, 10, and 100 subscribers."""
    notified = asyncio.run(_notification_times(bench.product.database_url))
    baseline = (
        f"one row committed and announced by NOTIFY: p50 {median(notified):.1f}, p99 {percentile(notified, 99):.1f} ms"
    )
    rows = []
    for clients, p99_goal in P99_GOALS_MS.items():
        late = _latencies(bench, clients, 60 if bench.quick else LINES)
        p50, p99 = percentile(late, 50), percentile(late, 99)
        rows.append(
            Row(
                what=f"output → connected client, {clients} client{'s' if clients > 1 else ''}, one line every 25 ms",
                measured=f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
                baseline=baseline,
                ratio=f"{p50 / median(notified):.1f}",
                goal=f"p50 ≤ {P50_GOAL_MS}, p99 ≤ {p99_goal} ms",
                good=p50 <= P50_GOAL_MS and p99 <= p99_goal,
            )
        )
    return rows


def _latencies(bench: Bench, clients: int, lines: int) -> list[float]:
    crowd = Crowd(bench.product.port, bench.product.token, clients=clients)
    try:
        deployment_id = bench.product.deploy(bench.services["stamps"], count=lines + FIRST, every=EVERY)
        crowd.watch(deployment_id, output=True)
        found = crowd.result()
    finally:
        crowd.close()
    if not found.same or len(found.latencies) != clients * (lines + FIRST):
        raise RuntimeError(f"{len(found.latencies)} of {clients * (lines + FIRST)} lines arrived.")
    each = lines + FIRST
    # The first lines were printed while the clients were still subscribing.
    return [late for client in range(clients) for late in found.latencies[client * each + FIRST : (client + 1) * each]]


async def _notification_times(url: str) -> list[float]:
    """Return how long (ms) a commit with a notification takes to reach another connection to the same database."""
    sender, receiver = await asyncpg.connect(url), await asyncpg.connect(url)
    received = asyncio.Event()
    times = []
    try:
        await sender.execute("CREATE TABLE IF NOT EXISTS benchmark (n int)")
        await receiver.add_listener("benchmark", lambda *_: received.set())
        for _ in range(200):
            received.clear()
            began = time.monotonic_ns()
            async with sender.transaction():
                await sender.execute("INSERT INTO benchmark VALUES (1)")
                await sender.execute("NOTIFY benchmark")
            await received.wait()
            times.append((time.monotonic_ns() - began) / 1e6)
            await asyncio.sleep(0.005)
        await sender.execute("DROP TABLE benchmark")
    finally:
        await sender.close()
        await receiver.close()
    return times


def measure_fan_out(bench: Bench) -> list[Row]:
    """Measure 200 steps sent to 200 clients: normally, then with stalled clients, then compressed, as for browsers."""
    clients = 50 if bench.quick else CLIENTS
    plain = [_fan_out(bench, f"fan-out-{number}", clients) for number in (1, 2)[: bench.rounds(2)]]
    stalled = _fan_out(bench, "fan-out-3", clients, stalled=5)
    deflated = _fan_out(bench, "fan-out-4", clients, deflate=True)
    return [
        _fan_out_row(f"fan-out: {STEPS} steps to {clients} clients, every event in order", plain),
        _fan_out_row("the same, with 5 more clients that read nothing", [stalled]),
        _fan_out_row("the same, with compression as browsers request it", [deflated]),
    ]


def _fan_out_row(what: str, runs: list[tuple[Seen, float]]) -> Row:
    rate = median([seen.deliveries / seconds for seen, seconds in runs])
    return Row(
        what=what,
        measured=f"{rate:.0f} deliveries/s ({runs[0][0].deliveries} in {median([took for _, took in runs]):.2f} s)",
        goal=f"≥ {DELIVERIES_GOAL}/s",
        good=rate >= DELIVERIES_GOAL,
    )


def _fan_out(
    bench: Bench, service: str, clients: int, *, stalled: int = 0, deflate: bool = False
) -> tuple[Seen, float]:
    crowd = Crowd(bench.product.port, bench.product.token, clients=clients, stalled=stalled, deflate=deflate)
    try:
        with bench.times_file() as times:
            deployment_id = bench.product.deploy(bench.services[service], count=STEPS, times=str(times))
            crowd.watch(deployment_id, output=False)
            found = crowd.result()
            began, _ = times.read()
    finally:
        crowd.close()
    if not found.same or found.events < STEPS:
        raise RuntimeError(f"Not every client got every event ({found}).")
    return found, (found.last - began) / 1e9

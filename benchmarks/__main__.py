"""Measure the running product. A full run writes the table to benchmarks/README.md."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from benchmarks import folders, history
from benchmarks.bench import Bench
from benchmarks.cases.growth import measure_growth
from benchmarks.cases.hosts import measure_hosts
from benchmarks.cases.intake import measure_lines, measure_steps
from benchmarks.cases.live import measure_fan_out, measure_latency
from benchmarks.cases.overhead import measure_at_once, measure_overhead
from benchmarks.cases.playbooks import measure_playbook, measure_ssh
from benchmarks.cases.reads import measure_reads
from benchmarks.cases.start import measure_start
from benchmarks.machine import MemoryWatch, cpu_name, load_average, memory, peak_memory, sync_seconds, waited
from benchmarks.product import Product
from benchmarks.table import Row, attempt, markdown, write_readme

# Keep this order: the reads need an empty history first, and they leave a long history for all measurements that
# follow.
MEASUREMENTS: dict[str, Callable[[Bench], list[Row]]] = {
    "reads": measure_reads,
    "overhead": measure_overhead,
    "steps": measure_steps,
    "lines": measure_lines,
    "latency": measure_latency,
    "fan-out": measure_fan_out,
    "at-once": measure_at_once,
    "playbook": measure_playbook,
    "hosts": measure_hosts,
}
OTHERS = ("memory", "start", "growth")
IDLE_GOAL, LOADED_GOAL = 130, 200


def main() -> int:
    """Run the requested measurements. Exit with status 1 if any of them could not be measured."""
    arguments = parse()
    began, load_before = time.monotonic(), load_average()
    folder = Path(tempfile.mkdtemp(prefix="fastdeploy-bench-", dir=arguments.folder))
    # When started by root, the bundled PostgreSQL runs as another user, who must be able to enter the folder.
    folder.chmod(0o711)
    try:
        rows, about = measure(arguments, folder)
    finally:
        shutil.rmtree(folder)
    load = f"load average {load_before:.1f} before, {load_average():.1f} after"
    about += f" Took {time.monotonic() - began:.0f} s, {load}."
    print(f"\n{about}\n\n{markdown(rows)}")
    if not arguments.quick and not arguments.partly:
        write_readme([about], rows)
    return 1 if any(row.measured.startswith("failed") for row in rows) else 0


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*MEASUREMENTS, *OTHERS]
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"measurements to run (default: all): {', '.join(names)}"
    )
    parser.add_argument("--quick", action="store_true", help="run a short smoke test")
    parser.add_argument(
        "--ssh", action="store_true", help="also measure a playbook on two SSH hosts (requires root, takes minutes)"
    )
    parser.add_argument("--folder", type=Path, help="folder for the data (default: the temporary folder)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    arguments.partly = bool(arguments.names)
    arguments.names = arguments.names or names
    return arguments


def measure(arguments: argparse.Namespace, folder: Path) -> tuple[list[Row], str]:
    """Start the product, measure it, and stop it. Return the rows and a paragraph about the machine."""
    services_dir, data_dir = folder / "services", folder / "data"
    folders.write_services(services_dir)
    product = Product(data_dir, services_dir)
    rows: list[Row] = []
    try:
        about = describe(product, folder)
        idle = memory(product.pid)
        if "reads" not in arguments.names:
            history.seed(product.database_url, 10_000)
        watch = MemoryWatch(product.pid)
        bench = Bench(product, product.service_ids(), folder, quick=arguments.quick)
        for name, function in MEASUREMENTS.items():
            if name in arguments.names:
                rows += shown(name, lambda measure_it=function: measure_it(bench))  # type: ignore[misc]
        watch.stop()
        about += f" The server waited for a core for {waited(product.pid):.0%} of its runnable time."
        if "memory" in arguments.names:
            rows += memory_rows(product, idle, watch)
    finally:
        product.stop()
    if "start" in arguments.names:
        rounds = 1 if arguments.quick else 5
        rows += shown("start", lambda: measure_start(folder, services_dir, data_dir, rounds=rounds))
    if "growth" in arguments.names:
        rows += shown("growth", lambda: measure_growth(folder, quick=arguments.quick))
    if arguments.ssh:
        rows += shown("ssh", lambda: measure_ssh(folder, quick=arguments.quick))
    return rows, about


def shown(name: str, measure_it: Callable[[], list[Row]]) -> list[Row]:
    """Run a measurement and show its rows."""
    began = time.monotonic()
    print(f"{name} … ", end="", flush=True, file=sys.stderr)
    rows = attempt(name, measure_it)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    for row in rows:
        print(f"    {row.what}: {row.measured} [{row.ratio}]{' MISS' if row.good is False else ''}", file=sys.stderr)
    return rows


def memory_rows(product: Product, idle: float, watch: MemoryWatch) -> list[Row]:
    """Return the rows on the server's memory."""
    return [
        Row(
            what="memory of server and worker, idle (PSS)",
            measured=f"{idle:.0f} MiB (after all loads {memory(product.pid):.0f} MiB)",
            goal=f"≤ {IDLE_GOAL} MiB",
            good=idle <= IDLE_GOAL,
        ),
        Row(
            what="peak memory of server and worker under the loads above",
            measured=f"{peak_memory(product.pid):.0f} MiB RSS, {watch.peak_server:.0f} MiB PSS; "
            f"all run supervisors {watch.peak_supervisors:.0f} MiB PSS",
            goal=f"≤ {LOADED_GOAL} MiB",
            good=peak_memory(product.pid) <= LOADED_GOAL,
        ),
    ]


def describe(product: Product, folder: Path) -> str:
    """Return a paragraph with the date, the versions, and the machine."""
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    return (
        f"`{command}` on {datetime.now(timezone.utc):%Y-%m-%d}: {os.cpu_count()} cores ({cpu_name()}), "
        f"Python {platform.python_version()}, PostgreSQL {history.postgres_version(product.database_url)} (bundled, "
        f"fsync on; syncing 8 KiB takes {1000 * sync_seconds(folder):.1f} ms), niceness {os.nice(0)}."
    )


if __name__ == "__main__":
    sys.exit(main())

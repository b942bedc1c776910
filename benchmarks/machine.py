"""Measure the machine and the resources that processes use."""

from __future__ import annotations

import os
import platform
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which `percent` percent of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def load_average() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def cpu_name() -> str:
    """Return the name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def sync_seconds(folder: Path) -> float:
    """Return the number of seconds it takes to write and sync 8 KiB (median of 100)."""
    file = folder / "sync-probe"
    descriptor, times = os.open(file, os.O_CREAT | os.O_WRONLY), []
    try:
        for _ in range(100):
            os.write(descriptor, bytes(8192))
            began = time.perf_counter()
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        file.unlink()
    return median(times)


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Return all descendants of a process. If the process has ended, return none."""
    below = children(pid)
    return below + [deeper for child in below for deeper in descendants(child)]


def command_line(pid: int) -> str:
    """Return a process's command line, or an empty string if the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def cpu_seconds(pid: int) -> float:
    """Return the processor time used by a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waited(pid: int) -> float:
    """Return the share of its runnable time that a process spent waiting for a core (main thread only)."""
    running, waiting, _ = (int(word) for word in Path(f"/proc/{pid}/schedstat").read_text().split())
    return waiting / (running + waiting)


def memory(pid: int, kind: str = "Pss") -> float:
    """Return the proportional (`Pss`) or resident (`Rss`) memory of a process in MiB, or 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")), 0) / 1024


def peak_memory(pid: int) -> float:
    """Return the peak resident memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


class MemoryWatch:
    """Samples the memory of a server, its fork server, and its run supervisors until stopped."""

    def __init__(self, pid: int, every: float = 0.25) -> None:
        self.peak_server = self.peak_supervisors = 0.0
        self._pid, self._every = pid, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            self.peak_server = max(self.peak_server, memory(self._pid))
            below = [pid for pid in descendants(self._pid) if "supervisor" in command_line(pid)]
            self.peak_supervisors = max(self.peak_supervisors, sum(memory(pid) for pid in below))

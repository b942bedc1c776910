"""Run a service's small programs as the deploy user, with limits on time and output, and cache the results."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from deploy.adapters.runs.directory import RunSpec
from deploy.adapters.runs.start import DeployUser, RunError, start_detached, supervisor_command

Result = TypeVar("Result")

TIMEOUT = 10.0
OUTPUT_LIMIT = 64 * 1024
CACHE_SECONDS = 30.0
CACHE_SIZE = 1000
MAX_CONCURRENT = 4
# Extra time to start, stop, and clean up.
_RESERVE_SECONDS = 5.0


class ChoiceUnavailable(Exception):
    """The program did not return usable output. The text is a sentence for users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program to run: arguments, working directory and environment."""

    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str]

    def spec(self, seconds: float) -> RunSpec:
        """Return the settings of the run."""
        return RunSpec(
            argv=list(self.argv),
            cwd=self.cwd,
            env=self.env,
            files={},
            timeout=seconds,
            output_limit=OUTPUT_LIMIT,
            line_limit=OUTPUT_LIMIT,
        )


def ask(program: Program, user: DeployUser | None, seconds: float = TIMEOUT) -> str:
    """Run a program as `user` (None: the server's own user) and return its output. Block for at most `seconds`.

    Raises:
        ChoiceUnavailable: The program could not be started, failed, took too long, or printed too much.
    """
    try:
        result = _run(program.spec(seconds), user)
    except subprocess.TimeoutExpired:
        result = {"cause": "timeout"}
    except (OSError, RunError, ValueError) as error:
        raise ChoiceUnavailable(f"The program could not be started ({error})") from error
    _raise_on_failure(result, seconds)
    return str(result["out"])


def _run(spec: RunSpec, user: DeployUser | None) -> dict[str, Any]:
    pipe = subprocess.PIPE
    with start_detached(supervisor_command(user, "ask"), user, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        out, err = _communicate(process, spec)
    if not out:
        raise ValueError(_last_line(err.decode("utf-8", "replace")) or f"exit code {process.returncode}")
    result: dict[str, Any] = json.loads(out)
    return result


def _communicate(process: subprocess.Popen[bytes], spec: RunSpec) -> tuple[bytes, bytes]:
    """Send the settings and return the output.

    Keep standard input open until then: if it closes, the program assumes that the server is gone.
    """
    stdin, process.stdin = process.stdin, None
    assert stdin is not None
    try:
        with stdin:
            stdin.write(spec.to_json().encode("ascii") + b"\n")
            stdin.flush()
            return process.communicate(timeout=(spec.timeout or 0.0) + _RESERVE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _raise_on_failure(result: dict[str, Any], seconds: float) -> None:
    if result["cause"] == "timeout":
        raise ChoiceUnavailable(f"The program was stopped after its timeout of {seconds:g} seconds")
    if result["cause"] == "too_much":
        raise ChoiceUnavailable(f"The program printed more than {OUTPUT_LIMIT // 1024} KiB")
    if result["cause"] is not None:
        raise ChoiceUnavailable(str(result["message"])[:500].rstrip("."))
    if result["signal"] is not None:
        raise ChoiceUnavailable(f"The program was ended by {result['signal']}{_reason_in(result['err'])}")
    if result["code"]:
        raise ChoiceUnavailable(f"The program ended with exit code {result['code']}{_reason_in(result['err'])}")
    if not str(result["out"]).strip() and _reason_in(result["err"]):
        raise ChoiceUnavailable(f"The program printed no choices{_reason_in(result['err'])}")


def _reason_in(errors: str) -> str:
    last = _last_line(errors)
    return f": {last}" if last else ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300].replace("\x00", "") if lines else ""


class TtlCache:
    """Caches results, including failures, for `CACHE_SECONDS`. Callers share a running computation.

    `clock` returns seconds. At most `MAX_CONCURRENT` computations run at the same time; the others wait.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tasks: dict[Hashable, tuple[float, asyncio.Task[Any]]] = {}
        self._slots: asyncio.Semaphore | None = None

    async def get(self, key: Hashable, compute: Callable[[], Awaitable[Result]]) -> Result:
        """Return the result of `compute`, or the cached result for this key."""
        now = self._clock()
        self._evict(now)
        if key not in self._tasks:
            task = asyncio.create_task(self._limited(compute))
            # Retrieve the exception so that asyncio does not log it if all callers are gone.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._tasks[key] = now + CACHE_SECONDS, task
        # Shield the task: if one caller is canceled, the others still get the result.
        result: Result = await asyncio.shield(self._tasks[key][1])
        return result

    def _evict(self, now: float) -> None:
        expired = [key for key, (until, task) in self._tasks.items() if until <= now and task.done()]
        expired += list(self._tasks)[: max(0, len(self._tasks) - CACHE_SIZE)]
        for key in expired:
            self._tasks.pop(key, None)

    async def _limited(self, compute: Callable[[], Awaitable[Result]]) -> Result:
        self._slots = self._slots or asyncio.Semaphore(MAX_CONCURRENT)
        async with self._slots:
            return await compute()

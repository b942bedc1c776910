"""Running a small program of a service, as the deploy user, for what it prints: bounded, and once for many askers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from deploy.adapters.launching import DeployUser, RunError, start_detached, supervisor_command
from deploy.adapters.spool import RunSpec

Result = TypeVar("Result")

SECONDS = 10.0
OUTPUT_LIMIT = 64 * 1024
KEPT_SECONDS = 30.0
KEPT = 1000
AT_ONCE = 4
# What starting, ending and tidying up may take besides.
_RESERVE_SECONDS = 5.0


class Unanswered(Exception):
    """The program gave no answer that counts; the text is a sentence for whoever looks at the form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to run: the program and its arguments, where, and with which environment."""

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


def ask(question: Question, user: DeployUser | None, seconds: float = SECONDS) -> str:
    """Run a program as `user` (None: as ourselves) and return what it has printed. Blocks for `seconds` at most.

    Raises:
        Unanswered: it could not be started, failed, took too long, or printed too much.
    """
    try:
        said = _run(question.spec(seconds), user)
    except subprocess.TimeoutExpired:
        said = {"cause": "timeout"}
    except (OSError, RunError, ValueError) as error:
        raise Unanswered(f"It could not be started ({error})") from error
    _refuse(said, seconds)
    return str(said["out"])


def _run(spec: RunSpec, user: DeployUser | None) -> dict[str, Any]:
    pipe = subprocess.PIPE
    with start_detached(supervisor_command(user, "ask"), user, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        out, err = _talk(process, spec)
    if not out:
        raise ValueError(_last_line(err.decode("utf-8", "replace")) or f"exit code {process.returncode}")
    said: dict[str, Any] = json.loads(out)
    return said


def _talk(process: subprocess.Popen[bytes], spec: RunSpec) -> tuple[bytes, bytes]:
    """Hand the question over, and return what comes back. Its input stays open meanwhile: its end means that we are gone."""
    question, process.stdin = process.stdin, None
    assert question is not None
    try:
        with question:
            question.write(spec.to_json().encode("ascii") + b"\n")
            question.flush()
            return process.communicate(timeout=(spec.timeout or 0.0) + _RESERVE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _refuse(said: dict[str, Any], seconds: float) -> None:
    if said["cause"] == "timeout":
        raise Unanswered(f"It took longer than {seconds:g} seconds and was stopped")
    if said["cause"] == "too_much":
        raise Unanswered(f"It printed more than {OUTPUT_LIMIT // 1024} KiB")
    if said["cause"] is not None:
        raise Unanswered(str(said["message"])[:500].rstrip("."))
    if said["signal"] is not None:
        raise Unanswered(f"It was ended by the signal {said['signal']}{_why(said['err'])}")
    if said["code"]:
        raise Unanswered(f"It ended with exit code {said['code']}{_why(said['err'])}")


def _why(errors: str) -> str:
    last = _last_line(errors)
    return f": {last}" if last else ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300].replace("\x00", "") if lines else ""


class Kept:
    """Answers for a while: a form and its start, and all who look at the same form, ask once. Failures are kept, too.

    `clock` gives seconds. At most `AT_ONCE` questions are asked at the same time; the others wait for their turn.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tasks: dict[Hashable, tuple[float, asyncio.Task[Any]]] = {}
        self._turns: asyncio.Semaphore | None = None

    async def get(self, key: Hashable, find_out: Callable[[], Awaitable[Result]]) -> Result:
        """Return what `find_out` gives, or gave less than half a minute ago for this key."""
        now = self._clock()
        self._forget(now)
        if key not in self._tasks:
            task = asyncio.create_task(self._in_turn(find_out))
            # A failure that nobody waits for any more is no news.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._tasks[key] = now + KEPT_SECONDS, task
        # Whoever goes away does not take the answer from the others.
        result: Result = await asyncio.shield(self._tasks[key][1])
        return result

    def _forget(self, now: float) -> None:
        over = [key for key, (until, task) in self._tasks.items() if until <= now and task.done()]
        over += list(self._tasks)[: max(0, len(self._tasks) - KEPT)]
        for key in over:
            self._tasks.pop(key, None)

    async def _in_turn(self, find_out: Callable[[], Awaitable[Result]]) -> Result:
        self._turns = self._turns or asyncio.Semaphore(AT_ONCE)
        async with self._turns:
            return await find_out()

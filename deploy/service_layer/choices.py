"""Load choices through worker tasks, because only workers run programs from service folders."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from deploy.adapters.inputs.asking import TIMEOUT, ChoiceUnavailable
from deploy.adapters.inputs.choices import AskWorker
from deploy.adapters.inputs.programs import COMMAND, INVENTORY, ChoicePrograms
from deploy.service_layer.worker_tasks import TaskClient, TaskFailed, TaskHandler

# Seconds for the program, for starting it, and for waiting until a worker is free.
ANSWER_TIMEOUT = 2 * TIMEOUT


def asks_workers(tasks: TaskClient) -> AskWorker:
    """Return a function that has a worker run a program."""

    async def ask(kind: str, arguments: Mapping[str, Any]) -> str:
        try:
            return str(await tasks.ask(kind, arguments, timeout=ANSWER_TIMEOUT))
        except TaskFailed as failure:
            raise ChoiceUnavailable(str(failure)) from failure

    return ask


def choice_handlers(programs: ChoicePrograms) -> dict[str, TaskHandler]:
    """Return the handlers of the tasks that run programs, by kind."""

    async def answer(kind: str, arguments: dict[str, Any]) -> str:
        try:
            return await programs.output(kind, arguments)
        except ChoiceUnavailable as reason:
            raise TaskFailed(str(reason)) from reason

    return {kind: partial(answer, kind) for kind in (COMMAND, INVENTORY)}

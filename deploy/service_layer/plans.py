"""Plan the expected steps of a deployment before it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from deploy.domain.model import Lane, Plan, PlannedStep, Service
from deploy.domain.rights import Visible
from deploy.domain.run import PLACEHOLDER
from deploy.service_layer.unit_of_work import UnitOfWork

PlaybookSteps: TypeAlias = Callable[[Service], Awaitable[Sequence[PlannedStep]]]


async def expected(
    service: Service, uow: UnitOfWork, playbook_steps: PlaybookSteps, *, environment: str = "", visible: Visible
) -> Plan:
    """Return the plan from earlier successes in the environment, or else from the config or the playbook, or a placeholder step."""
    plan = await uow.plans.by_successes(Lane(service.id, environment), visible=visible)
    if plan is not None and plan.steps:
        return plan
    configured = [PlannedStep(name=step.name, description=step.description) for step in service.config.steps]
    steps = tuple(configured or await playbook_steps(service) or [PLACEHOLDER])
    return Plan(steps=steps, expected_seconds=plan.expected_seconds if plan is not None else None)

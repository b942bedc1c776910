"""Start deployments again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from deploy.domain.commands import StartDeployment
from deploy.domain.policy import Action, Actor
from deploy.service_layer.authorization import granted_deployment
from deploy.service_layer.unit_of_work import OpenUnitOfWork, in_unit_of_work


async def retry_of(
    deployment_id: int,
    by: Actor,
    open_unit_of_work: OpenUnitOfWork,
    *,
    secrets: Mapping[str, Any],
    confirm: str | None,
    idempotency_key: str | None,
) -> StartDeployment:
    """Return the command that starts a deployment again, with the same service, origin, and values.

    Secret inputs are not stored, so `secrets` must contain them again.

    Raises:
        NotFound: The deployment does not exist, or the actor is not allowed to know that it does.
        Forbidden: The actor is not allowed to start it.
        Conflict: It has not finished yet.
    """
    before = await in_unit_of_work(
        open_unit_of_work, partial(granted_deployment, by, Action.START_DEPLOYMENT, deployment_id)
    )
    before.ensure_retryable()
    return StartDeployment(
        service_id=before.service_id,
        origin=before.origin,
        user=by.name,
        user_id=by.user_id,
        environment=before.environment,
        context=before.context,
        idempotency_key=idempotency_key,
        retry_of=before.id,
        by_person=True,
        confirm=confirm,
        again=dict(secrets),
        needed_again=tuple(before.secret_inputs),
    )

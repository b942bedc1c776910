"""Authorization: load the object of a command or request, and check that the actor has access (`domain/policy`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from deploy.domain.commands import Command, ObjectType, StartDeployment
from deploy.domain.errors import NotFound
from deploy.domain.model import Deployment, Service
from deploy.domain.policy import SITE, Action, Actor, Target, TokenType, check
from deploy.domain.rights import EVERYTHING, Visible
from deploy.service_layer.unit_of_work import UnitOfWork


async def authorize(command: Command, by: Actor, uow: UnitOfWork) -> None:
    """Check that the actor is allowed to execute the command.

    Raises:
        NotFound: The object does not exist, or the actor is not allowed to know that it does.
        Forbidden: The actor is not allowed to do this.
    """
    if by.is_system:
        return
    rule = command.rule
    target = await _target(command, rule.on, uow)
    if isinstance(command, StartDeployment):
        target = replace(target, environment=command.environment)
    check(by, rule.action, target)


async def granted_deployment(actor: Actor, action: Action, deployment_id: int, uow: UnitOfWork) -> Deployment:
    """Return a deployment if the actor is allowed to perform the action on it.

    Raises:
        NotFound: It does not exist, or the actor is not allowed to know that it does.
        Forbidden: The actor is not allowed to do this.
    """
    deployment = await uow.deployments.get(deployment_id, visible=_findable(actor))
    check(actor, action, _of_deployment(deployment))
    return deployment


async def granted_service(actor: Actor, action: Action, service_id: int, uow: UnitOfWork) -> Service:
    """Return a service if the actor is allowed to perform the action on it.

    Raises:
        NotFound: It does not exist, or the actor is not allowed to know that it does.
        Forbidden: The actor is not allowed to do this.
    """
    service = await uow.services.get(service_id, visible=_findable(actor))
    check(actor, action, _of_service(service))
    return service


def _findable(actor: Actor) -> Visible:
    # Service tokens of another service get 403 instead of 404. `check` makes that decision.
    return EVERYTHING if actor.kind is TokenType.SERVICE else actor.visible


async def _target(command: Command, on: ObjectType, uow: UnitOfWork) -> Target:
    if on is ObjectType.SITE:
        return SITE
    return await _LOADERS[on](getattr(command, on.value), uow)


async def _service(service_id: int, uow: UnitOfWork) -> Target:
    # Lock it as the handlers of these commands do, so that they do not have to read it again.
    return _of_service(await uow.services.get(service_id, for_update=True, visible=EVERYTHING))


async def _service_named(name: str, uow: UnitOfWork) -> Target:
    service = await uow.services.find(name, visible=EVERYTHING)
    if service is None:
        raise NotFound("Service not found")
    return _of_service(service)


async def _deployment(deployment_id: int, uow: UnitOfWork) -> Target:
    return _of_deployment(await uow.deployments.get(deployment_id, visible=EVERYTHING))


async def _user(user_id: int, uow: UnitOfWork) -> Target:
    return Target(name="User", user_id=(await uow.users.get(user_id)).id)


async def _token(token_id: str, uow: UnitOfWork) -> Target:
    token = await uow.tokens.get(token_id)
    return Target(name="Token", user_id=token.user_id, service_id=token.service_id)


async def _group(group_id: int, uow: UnitOfWork) -> Target:
    await uow.groups.get(group_id)
    return Target(name="Group")


def _of_service(service: Service) -> Target:
    return Target(name="Service", service_id=service.id)


def _of_deployment(deployment: Deployment) -> Target:
    return Target(
        name="Deployment",
        service_id=deployment.service_id,
        environment=deployment.environment,
        deployment_id=deployment.id,
    )


_LOADERS: dict[ObjectType, Callable[[Any, UnitOfWork], Awaitable[Target]]] = {
    ObjectType.SERVICE: _service,
    ObjectType.SERVICE_NAME: _service_named,
    ObjectType.DEPLOYMENT: _deployment,
    ObjectType.USER: _user,
    ObjectType.TOKEN: _token,
    ObjectType.GROUP: _group,
}

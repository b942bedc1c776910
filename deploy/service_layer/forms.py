"""The form for starting a deployment: its inputs with choices, the previous values, and a summary."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from deploy.adapters.ansible.targets import LOCAL, matching_hosts
from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.inputs.asking import ChoiceUnavailable
from deploy.adapters.inputs.choices import Choices
from deploy.adapters.inputs.schema import names, secret_names
from deploy.adapters.service_folders.survey import Survey
from deploy.domain.inputs import Form
from deploy.domain.model import Lane, Service
from deploy.domain.policy import Action, Actor
from deploy.service_layer.authorization import granted_service
from deploy.service_layer.unit_of_work import OpenUnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a deployment will run, and where.

    `hosts` is None if only the run itself can determine them. `runs_as` is the deploy user, or None for the server's
    own user. `ahead` counts the deployments of the service that are waiting or running.
    """

    kind: Literal["script", "playbook"]
    file: str
    hosts: list[str] | None
    runs_as: str | None
    ahead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceForm:
    """The form of a service. `last` contains the user's previous values, without secrets.

    With `confirm`, a person must type the service's name.
    """

    form: Form
    last: dict[str, Any] | None
    confirm: bool
    summary: Summary


class Forms:
    """Builds the forms of services. `runs_as` is the name of the deploy user, or None for the server's own user."""

    def __init__(
        self, open_unit_of_work: OpenUnitOfWork, folders: ServiceFolders, choices: Choices, *, runs_as: str | None
    ) -> None:
        self._open_unit_of_work = open_unit_of_work
        self._folders = folders
        self._choices = choices
        self._runs_as = runs_as

    async def of(self, service_id: int, actor: Actor) -> ServiceForm:
        """Return the form of a service. Choices from a command or an inventory are loaded now.

        Raises:
            NotFound: The service does not exist, or the actor is not allowed to know that it does.
            Forbidden: The actor is not allowed to read its inputs.
            FoldersUnavailable: The services folder cannot be read.
        """
        async with self._open_unit_of_work() as uow:
            service = await granted_service(actor, Action.READ_INPUTS, service_id, uow)
            ahead = await uow.deployments.count_active(service.id, visible=actor.visible)
            last = None
            if actor.user_id is not None:
                last = await uow.previous_values.last(Lane(service.id), actor.user_id, visible=actor.visible)
        found = await self._folders.survey(service.name, service.config)
        form, hosts = await asyncio.gather(
            self._choices.form(service.name, service.config), self._hosts(service, found)
        )
        summary = Summary(
            kind="script" if found.is_script else "playbook",
            file=service.config.script if found.is_script else str(service.config.ansible_playbook),
            hosts=hosts,
            runs_as=self._runs_as,
            ahead=ahead,
        )
        return ServiceForm(form=form, last=_reusable(last, form), confirm=service.config.confirm, summary=summary)

    async def _hosts(self, service: Service, found: Survey) -> list[str] | None:
        """Return the hosts that a playbook targets.

        Return None for scripts, or if the hosts are only known when it runs.
        """
        if found.is_script or found.hosts is None:
            return None
        if set(found.hosts) <= set(LOCAL):
            return list(dict.fromkeys(found.hosts))
        try:
            return matching_hosts(found.hosts, await self._choices.inventory(service.name, service.config))
        except ChoiceUnavailable:
            return None  # the run will report the error


def _reusable(last: dict[str, Any] | None, form: Form) -> dict[str, Any] | None:
    """Return the previous values that the form still asks for and that are not secret."""
    if last is None or form.schema is None:
        return last
    # An input could have become a secret since then.
    wanted = set(names(form.schema)) - secret_names(form.schema)
    return {name: value for name, value in last.items() if name in wanted}

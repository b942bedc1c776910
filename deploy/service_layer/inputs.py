"""What services ask for, and the answers: checked before a transaction begins, for finding choices out takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deploy.adapters.ansible.values import RESERVED, names_with_reserved_fields
from deploy.adapters.inputs import schema as shape
from deploy.adapters.inputs.choices import Choices
from deploy.adapters.sealing import Unsealable, Vault
from deploy.domain.commands import StartDeployment
from deploy.domain.errors import Conflict, InvalidInput
from deploy.domain.inputs import CONFIRM, ENV, Answers, Fault, InvalidAnswers
from deploy.domain.masking import Mask
from deploy.domain.model import Deployment
from deploy.domain.reports import is_deep, is_encodable
from deploy.service_layer.messagebus import Unprepared
from deploy.service_layer.unit_of_work import OpenUnitOfWork, UnitOfWork

# What a config says of inputs; while a start is being checked, none of this may change.
_OPTIONS = ("inputs", "confirm")


class Inputs:
    """The one way from what was asked for to what a deployment is started with, whoever asks."""

    def __init__(self, open_unit_of_work: OpenUnitOfWork, choices: Choices, vault: Vault) -> None:
        self._open_unit_of_work = open_unit_of_work
        self.choices = choices
        self.vault = vault

    async def prepare(self, command: StartDeployment) -> StartDeployment:
        """Return the command with its answers checked, completed, and parted into plain and secret ones.

        Raises:
            NotFound: there is no such service.
            InvalidAnswers: something is missing or wrong; every fault is told.
        """
        async with self._open_unit_of_work() as uow:
            service = await uow.services.get(command.service_id)
        faults = _confirmation(command, service.name, service.data)
        answers, found = await self._answers(command, service.name, service.data)
        if faults or found:
            raise InvalidAnswers((*faults, *found))
        return replace(command, answers=answers)

    async def _answers(
        self, command: StartDeployment, service: str, config: Mapping[str, Any]
    ) -> tuple[Answers, list[Fault]]:
        options = {name: config.get(name) for name in _OPTIONS}
        schema, env = config.get("inputs"), command.context.get(ENV, {})
        faults = await self._reserved(command, service, config)
        if not isinstance(schema, dict):
            return Answers(env=env, config=options), faults + _for_nothing(command)
        faults += _given_again(command, schema)
        env = {**env, **command.again}
        needed = {field.name for field in shape.fields(schema) if field.name in env or "default" in field.schema}
        form = await self.choices.form(service, config, frozenset(needed))
        complete, found = await asyncio.to_thread(_checked, form.schema or schema, env)
        faults += [
            Fault((ENV, problem.name), f"{shape.title(schema, problem.name)}: {_unknown_choices(problem.sentence)}")
            for problem in form.problems
            if problem.name in complete
        ]
        secrets = {name: complete.pop(name) for name in shape.secret_names(schema) if name in complete}
        for more in (found, _no_texts(secrets, schema)):
            told = {fault.path for fault in faults}
            faults += [fault for fault in more if fault.path not in told]
        return Answers(env=complete, secrets=secrets, config=options), faults

    async def _reserved(self, command: StartDeployment, service: str, config: Mapping[str, Any]) -> list[Fault]:
        """Return a fault for each value that has a name which Ansible reserves, if the service runs a playbook."""
        names = names_with_reserved_fields(_given(command))
        if not names or not await self.choices.runs_playbook(service, config):
            return []
        return [
            Fault(
                (ENV, name),
                f"{name[:100]}: names that begin with `{RESERVED}` are reserved by Ansible. Rename the input, or the field in it",
            )
            for name in names
        ]

    def fingerprint(self, command: StartDeployment) -> str:
        """Return by what the same request is known again; its secrets count, and cannot be told from it."""
        asked = {"context": command.context, "again": command.again, "user": command.user, "of": command.retry_of}
        return self.vault.fingerprint(asked)

    async def secrets(self, deployment: Deployment, uow: UnitOfWork) -> dict[str, str]:
        """Return the secret answers of a deployment that has not ended.

        Raises:
            Unsealable: they cannot be read.
        """
        if not deployment.secret_inputs:
            return {}
        sealed = await uow.secrets.get(deployment.id)
        if sealed is None:
            raise Unsealable("Its secret inputs are gone. Start it once more.")
        return self.vault.open(sealed, deployment.id)

    async def mask(self, deployment: Deployment, uow: UnitOfWork) -> Mask | None:
        """Return what hides the secret answers in what a run says; None where there is nothing to hide."""
        if not deployment.secret_inputs:
            return None
        try:
            return Mask((await self.secrets(deployment, uow)).values())
        except Unsealable:
            return Mask((), everything=True)


def answers_of(command: StartDeployment, config: Mapping[str, Any]) -> Answers:
    """Return the answers, if they were checked against what the service asks for now, or if it asks for nothing.

    Raises:
        Unprepared: they have to be checked first.
        Conflict: the service's config was changed since.
    """
    options = {name: config.get(name) for name in _OPTIONS}
    if command.answers is None:
        if any(options.values()) or command.again or names_with_reserved_fields(_given(command)):
            raise Unprepared
        return Answers(env=command.context.get(ENV, {}))
    if command.answers.config != options:
        raise Conflict("This service was changed at this very moment. Look at what it asks for, and start it again.")
    return command.answers


def _given(command: StartDeployment) -> dict[str, Any]:
    return {**command.context.get(ENV, {}), **command.again}


def check_shape(command: StartDeployment) -> None:
    """Do nothing if what was given can be stored at all.

    Raises:
        InvalidInput: it lies too deep, or has half a character in it.
    """
    given = {**command.context, "again": command.again}
    if is_deep(given):
        raise InvalidInput("The lists and objects in `env` lie in each other too deeply.")
    if not is_encodable(given):
        raise InvalidInput("A text in `env` has half a character in it (a lone surrogate).")


def _checked(schema: shape.Schema, env: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    from deploy.adapters.inputs.check import checked  # noqa: PLC0415 - its library is heavy, and most sites do without

    return checked(schema, env)


def _confirmation(command: StartDeployment, service: str, config: Mapping[str, Any]) -> list[Fault]:
    if not config.get("confirm") or not command.by_person or command.confirm == service:
        return []
    return [Fault((CONFIRM,), f"To confirm, type the name of the service: {service}")]


def _no_texts(secrets: Mapping[str, Any], schema: shape.Schema) -> list[Fault]:
    """Return the secrets that are no texts: where its condition does not hold, nobody has looked at an answer."""
    return [
        Fault((ENV, name), f"{shape.title(schema, name)}: has to be a text")
        for name, value in secrets.items()
        if not isinstance(value, str)
    ]


def _for_nothing(command: StartDeployment) -> list[Fault]:
    return [Fault((ENV, name), f"{name[:100]}: a retry takes no new values") for name in command.again]


def _given_again(command: StartDeployment, schema: shape.Schema) -> list[Fault]:
    """Return what is wrong with the secrets that a retry brings; of anything else it uses the values it has."""
    secret, known = shape.secret_names(schema), shape.names(schema)
    needed = [name for name in command.needed_again if name in known and name not in command.again]
    # What was a secret, and is none any more, was not kept either.
    others = [name for name in command.again if name not in secret and name not in command.needed_again]
    return [
        *(
            Fault((ENV, name), f"{shape.title(schema, name)}: has to be given again, it was not kept")
            for name in needed
        ),
        *(Fault((ENV, name), f"{shape.title(schema, name)[:100]}: a retry uses the value it had") for name in others),
    ]


def _unknown_choices(sentence: str) -> str:
    return f"what can be chosen is not known at the moment. {sentence}"

"""Check the values given for the inputs of services.

Values are checked outside the transaction, because loading choices can take a long time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deploy.adapters.ansible.values import RESERVED, names_with_reserved_fields
from deploy.adapters.inputs import schema as shape
from deploy.adapters.inputs.choices import Choices
from deploy.adapters.sealing import Vault
from deploy.domain.commands import StartDeployment
from deploy.domain.errors import Conflict, InvalidInput, Overloaded
from deploy.domain.inputs import CONFIRM, ENV, CheckedValues, Fault, InvalidValues
from deploy.domain.reports import MAX_DEPTH, is_deep, is_encodable
from deploy.domain.rights import EVERYTHING
from deploy.domain.rules import check_number_of_values
from deploy.domain.service_config import ServiceConfig
from deploy.service_layer.messagebus import Unprepared
from deploy.service_layer.unit_of_work import OpenUnitOfWork, in_unit_of_work

# Number of checks that can run at the same time, and that can run or wait in total.
CHECKS, MAX_WAITING = 2, 50
BUSY, BUSY_SECONDS = (
    "The server is checking the values of too many requests at the moment. Try again in a few seconds.",
    2,
)


class Inputs:
    """Turns the values of a start request into the checked values of a deployment."""

    def __init__(self, open_unit_of_work: OpenUnitOfWork, choices: Choices, vault: Vault) -> None:
        self._open_unit_of_work = open_unit_of_work
        self.choices = choices
        self.vault = vault
        self._slots: asyncio.Semaphore | None = None
        self._waiting = 0

    async def prepare(self, command: StartDeployment) -> StartDeployment:
        """Return the command with its values checked, defaults filled in, and secrets separated from plain values.

        Raises:
            NotFound: The service does not exist.
            InvalidValues: Values are missing or invalid. The error contains every fault.
        """
        service = await in_unit_of_work(
            self._open_unit_of_work, lambda uow: uow.services.get(command.service_id, visible=EVERYTHING)
        )
        faults = _confirmation(command, service.name, service.config)
        values, found = await self._values(command, service.name, service.config)
        if faults or found:
            raise InvalidValues((*faults, *found))
        return replace(command, values=values)

    async def _values(
        self, command: StartDeployment, service: str, config: ServiceConfig
    ) -> tuple[CheckedValues, list[Fault]]:
        schema, env = config.input_schema, command.context.get(ENV, {})
        if schema is None:
            faults = _unexpected_values(command)
            if await self._takes_no_values(service, config, env):
                faults += _undeclared(env)
            else:
                faults += await self._reserved(command, service, config)
            return CheckedValues(env=env, checked_for=config.start_options), faults
        faults = await self._reserved(command, service, config)
        faults += _retry_faults(command, schema)
        env = {**env, **command.again}
        needed = {field.name for field in shape.fields(schema) if field.name in env or "default" in field.schema}
        form = await self.choices.form(service, config, frozenset(needed))
        complete, found = await self._check(form.schema or schema, env)
        faults += [
            Fault((ENV, problem.name), f"{shape.title(schema, problem.name)}: {_choices_failed(problem.sentence)}")
            for problem in form.problems
            if problem.name in complete
        ]
        secrets = {name: complete.pop(name) for name in shape.secret_names(schema) if name in complete}
        for more in (found, _not_text(secrets, schema)):
            known = {fault.path for fault in faults}
            faults += [fault for fault in more if fault.path not in known]
        return CheckedValues(env=complete, secrets=secrets, checked_for=config.start_options), faults

    async def _check(self, schema: shape.Schema, env: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
        """Check values in a thread. Each check takes up to a second of processor time, so only a few run at once.

        Raises:
            Overloaded: Too many checks are waiting.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded(BUSY, BUSY_SECONDS)
        self._slots = self._slots or asyncio.Semaphore(CHECKS)
        self._waiting += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(_checked, schema, env)
        finally:
            self._waiting -= 1

    async def _takes_no_values(self, service: str, config: ServiceConfig, env: Mapping[str, Any]) -> bool:
        """Return True if there are values, and the service runs a playbook without declaring inputs.

        Variables from outside override those of the playbook, so it must declare what callers may set.
        """
        return bool(env) and may_reject_values(config) and await self.choices.runs_playbook(service, config)

    async def _reserved(self, command: StartDeployment, service: str, config: ServiceConfig) -> list[Fault]:
        """Return a fault for each value whose name Ansible reserves, if the service runs a playbook."""
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
        """Return a keyed hash of the request, including its secrets, to recognize a repeated request."""
        request = {"context": command.context, "again": command.again, "user": command.user, "of": command.retry_of}
        return self.vault.fingerprint(request)


def values_of(command: StartDeployment, config: ServiceConfig) -> CheckedValues:
    """Return the values if they were checked against the current config, or if the service does not declare inputs.

    Raises:
        Unprepared: The values must be checked first.
        Conflict: The service's config has changed since the values were checked.
    """
    if command.values is None:
        given = _given(command)
        is_unchecked = any(config.start_options) or (given and may_reject_values(config))
        if is_unchecked or command.again or names_with_reserved_fields(given):
            raise Unprepared
        return CheckedValues(env=command.context.get(ENV, {}))
    if command.values.checked_for != config.start_options:
        raise Conflict(
            "The service was changed while the deployment was being started. Check its inputs, then start again."
        )
    return command.values


def may_reject_values(config: ServiceConfig) -> bool:
    """Return True if the service does not declare inputs and, unless its folder has a script, runs a playbook."""
    return config.inputs is None and not config.names_script


def _undeclared(env: Mapping[str, Any]) -> list[Fault]:
    return [
        Fault(
            (ENV, name),
            f"{name[:100]}: this service does not declare inputs, so its playbook takes no values. "
            "Declare the value in `inputs` in its config.json",
        )
        for name in env
    ]


def _given(command: StartDeployment) -> dict[str, Any]:
    return {**command.context.get(ENV, {}), **command.again}


def check_shape(command: StartDeployment) -> None:
    """Check that the values can be stored.

    Raises:
        InvalidInput: There are too many values, they are nested too deeply, or they contain a lone surrogate.
    """
    check_number_of_values(command.context.get(ENV, {}))
    check_number_of_values(command.again)
    given = {**command.context, "again": command.again}
    if is_deep(given):
        raise InvalidInput(f"`env` is nested too deeply ({MAX_DEPTH} levels at most).")
    if not is_encodable(given):
        raise InvalidInput("`env` contains invalid text (a lone surrogate).")


def _checked(schema: shape.Schema, env: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    from deploy.adapters.inputs.check import checked  # noqa: PLC0415 - a heavy library that most sites do not need

    return checked(schema, env)


def _confirmation(command: StartDeployment, service: str, config: ServiceConfig) -> list[Fault]:
    if not config.confirm or not command.by_person or command.confirm == service:
        return []
    return [Fault((CONFIRM,), f"To confirm, type the name of the service: {service}")]


def _not_text(secrets: Mapping[str, Any], schema: shape.Schema) -> list[Fault]:
    """Return a fault for each secret that is not text. Inputs whose condition does not apply have not been checked."""
    return [
        Fault((ENV, name), f"{shape.title(schema, name)}: must be text")
        for name, value in secrets.items()
        if not isinstance(value, str)
    ]


def _unexpected_values(command: StartDeployment) -> list[Fault]:
    return [Fault((ENV, name), f"{name[:100]}: a retry does not accept new values") for name in command.again]


def _retry_faults(command: StartDeployment, schema: shape.Schema) -> list[Fault]:
    """Return the faults in the secrets given for a retry. All other values come from the first deployment."""
    secret, known = shape.secret_names(schema), shape.names(schema)
    needed = [name for name in command.needed_again if name in known and name not in command.again]
    # An input that was a secret then but is not one now was not stored either.
    others = [name for name in command.again if name not in secret and name not in command.needed_again]
    return [
        *(
            Fault(
                (ENV, name), f"{shape.title(schema, name)}: must be given again, because secret values are not stored"
            )
            for name in needed
        ),
        *(
            Fault((ENV, name), f"{shape.title(schema, name)[:100]}: a retry reuses the previous value")
            for name in others
        ),
    ]


def _choices_failed(sentence: str) -> str:
    return f"the choices could not be loaded. {sentence}"

"""Start deployments with checked values, against PostgreSQL: what is stored, sealed, compared, and removed."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.inputs.choices import Choices
from deploy.adapters.sealing import Unsealable
from deploy.domain.commands import CancelDeployment, FailLostRun, ReportStep, StartDeployment, SyncServices
from deploy.domain.errors import Conflict, NotFound, Overloaded
from deploy.domain.inputs import CheckedValues, InvalidValues
from deploy.domain.model import Lane, StepReport, StepState
from deploy.domain.policy import WORKER, Actor, TokenType
from deploy.domain.rights import ALL_RIGHTS, EVERYTHING
from deploy.service_layer.forms import Forms
from deploy.service_layer.inputs import CHECKS, MAX_WAITING
from deploy.service_layer.run_secrets import StoredSecrets
from deploy.service_layer.services import folder_problems, sync_services
from tests.conftest import choice_programs, inputs_of
from tests.runs import ended
from tests.site import Site

SECRET = "s3cret-value"
INPUTS: dict[str, Any] = {
    "type": "object",
    "required": ["password"],
    "properties": {
        "size": {"title": "Size", "type": "integer", "maximum": 9, "default": 1},
        "password": {"title": "Password", "type": "string", "writeOnly": True},
    },
}

# Matching a single text takes as long as a match is allowed to take.
SLOW: dict[str, Any] = {"type": "array", "items": {"type": "string", "pattern": "^(a|aa)+$"}}


async def start(site: Site, service_id: int, env: dict[str, Any], **more: Any) -> int:
    return await site.start(service_id, context={"env": env}, **more)


async def sealed(site: Site, deployment_id: int) -> bytes | None:
    async with site.open_uow() as uow:
        return await uow.secrets.get(deployment_id)


async def test_secrets_are_sealed_and_defaults_are_added(site: Site) -> None:
    service_id = await site.service(inputs=INPUTS)
    deployment_id = await start(site, service_id, {"password": SECRET})
    deployment = await site.deployment(deployment_id)
    assert (deployment.context, deployment.secret_inputs) == ({"env": {"size": 1}}, ["password"])
    kept = await sealed(site, deployment_id)
    assert kept is not None
    assert SECRET.encode() not in kept
    assert SECRET not in str(await site.messages(deployment_id))


async def test_invalid_values_leave_nothing_behind(site: Site) -> None:
    service_id = await site.service(inputs=INPUTS)
    with pytest.raises(InvalidValues) as caught:
        await start(site, service_id, {"size": 10})
    assert [(fault.path, fault.sentence) for fault in caught.value.faults] == [
        (("env", "size"), "Size: must be at most 9"),
        (("env", "password"), "Password: required"),
    ]
    async with site.open_uow() as uow:
        assert await uow.deployments.active(service_id, visible=EVERYTHING) == []


@pytest.mark.parametrize("value", [12345, ["12345"], None])
async def test_a_secret_that_is_currently_not_required_must_still_be_a_string(site: Site, value: Any) -> None:
    token = {"properties": {"token": {"title": "Token", "type": "string", "writeOnly": True}}}
    how = {"enum": ["password", "token"], "default": "password"}
    condition = {"if": {"properties": {"how": {"const": "token"}}}, "then": token}
    service_id = await site.service(inputs={"type": "object", "properties": {"how": how}, **condition})
    with pytest.raises(InvalidValues) as caught:
        await start(site, service_id, {"token": value})
    assert [(fault.path, fault.sentence) for fault in caught.value.faults] == [
        (("env", "token"), "Token: must be text")
    ]
    with pytest.raises(InvalidValues) as caught:
        await start(site, service_id, {"how": "token", "token": value})
    assert len(caught.value.faults) == 1
    started = await site.deployment(await start(site, service_id, {"token": SECRET}))
    assert started.secret_inputs == ["token"]


async def test_a_missing_service_is_not_found(site: Site) -> None:
    service_id = await site.service(inputs=INPUTS)
    await site.bus.handle(SyncServices(folders=()), by=WORKER)
    with pytest.raises(NotFound):
        await start(site, service_id, {"password": SECRET})


async def test_values_for_an_outdated_config_are_rejected(site: Site) -> None:
    service_id = await site.service(inputs=INPUTS)
    stale = CheckedValues(env={}, checked_for=(None, False))
    command = StartDeployment(service_id=service_id, origin="a", user="b", user_id=None, values=stale)
    with pytest.raises(Conflict, match="changed while the deployment was being started"):
        await site.bus.handle(command, by=WORKER)


@pytest.mark.parametrize("how", ["ended", "lost"])
async def test_secrets_are_removed_when_the_run_ends(site: Site, how: str) -> None:
    service_id = await site.service(inputs=INPUTS)
    deployment_id = await start(site, service_id, {"password": SECRET})
    assert await site.claim() == deployment_id
    assert await sealed(site, deployment_id) is not None
    if how == "ended":
        await site.take_in(deployment_id, ended(0))
    else:
        await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason="gone"), by=WORKER)
    assert await sealed(site, deployment_id) is None


async def test_secrets_are_removed_when_a_queued_deployment_is_cancelled(site: Site) -> None:
    deployment_id = await start(site, await site.service(inputs=INPUTS), {"password": SECRET})
    await site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="ada"), by=WORKER)
    assert await sealed(site, deployment_id) is None


async def test_a_running_deployment_keeps_its_secrets_while_being_cancelled(site: Site) -> None:
    deployment_id = await start(site, await site.service(inputs=INPUTS), {"password": SECRET})
    await site.claim()
    await site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="ada"), by=WORKER)
    assert await sealed(site, deployment_id) is not None


async def test_reported_steps_are_masked(site: Site) -> None:
    deployment_id = await start(site, await site.service(inputs=INPUTS), {"password": SECRET})
    await site.claim()
    report = StepReport(name=f"Use {SECRET}", state=StepState.SUCCESS, message=SECRET, detail={"key": [SECRET]})
    await site.bus.handle(ReportStep(deployment_id=deployment_id, report=report), by=WORKER)
    step = (await site.steps(deployment_id))[0]
    assert (step.name, step.message, step.detail) == ("Use ***", "***", {"key": ["***"]})


async def test_a_repeated_request_is_compared_including_secrets(site: Site) -> None:
    service_id = await site.service(inputs=INPUTS)
    first = await start(site, service_id, {"password": SECRET}, idempotency_key="k")
    await site.claim()
    await site.take_in(first, ended(0))
    assert await start(site, service_id, {"password": SECRET}, idempotency_key="k") == first
    with pytest.raises(Conflict, match="Idempotency-Key"):
        await start(site, service_id, {"password": "another"}, idempotency_key="k")
    # Whatever has happened to the service since then, the deployment was started once.
    await site.service(inputs={**INPUTS, "required": ["password", "size"], "confirm": True})
    assert await start(site, service_id, {"password": SECRET}, idempotency_key="k") == first


async def test_confirmation_is_required_from_users_only(site: Site) -> None:
    service_id = await site.service(confirm=True)
    assert await site.start(service_id)
    assert await site.start(service_id, by_person=True, confirm="shop")
    with pytest.raises(InvalidValues) as caught:
        await site.start(service_id, by_person=True, confirm="Shop")
    assert [fault.path for fault in caught.value.faults] == [("confirm",)]


async def test_a_retry_needs_the_secrets_that_the_service_still_declares(site: Site) -> None:
    service_id = await site.service(inputs=INPUTS)
    needed = {"needed_again": ("password", "gone")}
    with pytest.raises(InvalidValues) as caught:
        await start(site, service_id, {"size": 2}, **needed)
    assert [fault.path for fault in caught.value.faults] == [("env", "password")]
    retried = await site.deployment(await start(site, service_id, {"size": 2}, again={"password": SECRET}, **needed))
    assert (retried.context["env"], retried.secret_inputs) == ({"size": 2}, ["password"])


async def test_a_retry_asks_again_for_a_former_secret(site: Site) -> None:
    service_id = await site.service(inputs={**INPUTS, "properties": {"password": {"type": "string"}}})
    again = {"again": {"password": "not so secret"}, "needed_again": ("password",)}
    retried = await site.deployment(await start(site, service_id, {}, **again))
    assert (retried.context["env"], retried.secret_inputs) == ({"password": "not so secret"}, [])


async def test_the_repr_of_a_command_hides_secrets() -> None:
    answers = CheckedValues(env={}, secrets={"password": SECRET})
    again = {"password": SECRET}
    command = StartDeployment(
        service_id=1, origin="a", user="b", user_id=None, context={"env": again}, again=again, values=answers
    )
    assert SECRET not in repr(command)


async def test_previous_values_are_those_of_the_same_user(site: Site) -> None:
    service_id, ada, grace = await site.service(), await site.user("ada"), await site.user("grace")
    await start(site, service_id, {"n": 1}, user_id=ada)
    await start(site, service_id, {"n": 2}, user_id=ada)
    await start(site, service_id, {"n": 3}, user_id=grace)
    async with site.open_uow() as uow:
        assert await uow.previous_values.last(Lane(service_id), ada, visible=EVERYTHING) == {"n": 2}
        assert await uow.previous_values.last(Lane(service_id), 987654321, visible=EVERYTHING) is None


async def test_a_value_that_has_become_a_secret_is_not_a_previous_value(busy_site: Site, services_root: Path) -> None:
    plain = {**INPUTS, "required": [], "properties": {**INPUTS["properties"], "password": {"type": "string"}}}
    (services_root / "shop").mkdir()
    (services_root / "shop" / "deploy.sh").write_text("#!/bin/sh\n")
    (services_root / "shop" / "deploy.sh").chmod(0o755)
    ada = await busy_site.user("ada")
    actor = Actor(kind=TokenType.USER, expires=0, user_id=ada, is_admin=True, rights=ALL_RIGHTS)
    folders = ServiceFolders(services_root)
    choices = Choices(folders, choice_programs(folders).output)
    forms = Forms(busy_site.open_uow, folders, choices, runs_as=None)

    async def previous(inputs: dict[str, Any]) -> dict[str, Any] | None:
        service_id = await busy_site.service(inputs=inputs)
        config = json.dumps({"inputs": inputs})
        (services_root / "shop" / "config.json").write_text(config)
        return (await forms.of(service_id, actor)).last

    await start(busy_site, await busy_site.service(inputs=plain), {"size": 2, "password": SECRET}, user_id=ada)
    assert await previous(plain) == {"size": 2, "password": SECRET}
    assert await previous(INPUTS) == {"size": 2}


async def test_missing_secrets_hide_all_output_and_prevent_a_start(site: Site, tmp_path: Any) -> None:
    deployment_id = await start(site, await site.service(inputs=INPUTS), {"password": SECRET})
    secrets = StoredSecrets(inputs_of(site.open_uow, tmp_path).vault)
    async with site.open_uow() as uow:
        await uow.secrets.remove(deployment_id)
        deployment = await uow.deployments.get(deployment_id, visible=EVERYTHING)
        mask = await secrets.mask(deployment, uow)
        with pytest.raises(Unsealable, match="Start the deployment again"):
            await secrets.open(deployment, uow)
    assert mask.text("whatever it says") == "***"


async def test_secrets_that_cannot_be_opened_hide_all_output(site: Site, tmp_path: Any) -> None:
    deployment_id = await start(site, await site.service(inputs=INPUTS), {"password": SECRET})
    secrets = StoredSecrets(inputs_of(site.open_uow, tmp_path).vault)
    async with site.open_uow() as uow:
        await uow.secrets.remove(deployment_id)
        await uow.secrets.put(deployment_id, b"\x01 something else, long enough to be something")
        mask = await secrets.mask(await uow.deployments.get(deployment_id, visible=EVERYTHING), uow)
    assert mask.text("whatever it says") == "***"


class TestManyAtOnce:
    """A single check can take a second."""

    async def test_only_a_few_checks_run_or_wait_at_once(self, busy_site: Site, tmp_path: Path) -> None:
        service_id = await busy_site.service(inputs={"type": "object", "properties": {"x": SLOW}})
        command = StartDeployment(
            service_id=service_id, origin="web", user="ada", user_id=None, context={"env": {"x": [f"{'a' * 60}!"] * 9}}
        )
        inputs = inputs_of(busy_site.open_uow, tmp_path)
        pending = {asyncio.ensure_future(inputs.prepare(command)) for _ in range(3 * MAX_WAITING)}
        refused: list[BaseException] = []
        while pending and not refused:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            refused = [error for task in done if isinstance(error := task.exception(), Overloaded)]
        counts = {threads_that_check()}
        while max(counts) < CHECKS and pending:  # one check can end just before the next one starts
            _, pending = await asyncio.wait(pending, timeout=0.01)
            counts.add(threads_that_check())
        assert max(counts) == CHECKS
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        assert isinstance(refused[0], Overloaded)
        assert "Try again in a few seconds" in str(refused[0])
        assert refused[0].retry_after > 0
        # Checks that callers gave up on no longer count.
        size = {"size": {"type": "integer"}}
        other = replace(
            command, service_id=await busy_site.service("blog", inputs={"type": "object", "properties": size})
        )
        values = (await inputs.prepare(replace(other, context={"env": {"size": 1}}))).values
        assert values is not None
        assert values.env == {"size": 1}


def threads_that_check() -> int:
    """Return the number of threads that are checking values."""
    stacks = [traceback.extract_stack(frame) for frame in sys._current_frames().values()]
    return sum(any(call.name == "_checked" for call in stack) for stack in stacks)


PLAYBOOK: dict[str, Any] = {"ansible_playbook": "site.yml"}


class TestPlaybooksWithoutInputs:
    """Values from callers override a playbook's variables, so a playbook must declare what it takes."""

    async def test_undeclared_values_are_rejected_by_name(self, site: Site) -> None:
        service_id = await site.service(**PLAYBOOK)
        with pytest.raises(InvalidValues) as caught:
            await start(site, service_id, {"version": 1, "app_user": "root"})
        assert [fault.path for fault in caught.value.faults] == [("env", "version"), ("env", "app_user")]
        assert "version: this service does not declare inputs" in str(caught.value)
        assert (await site.deployment(await start(site, service_id, {}))).context == {"env": {}}

    @pytest.mark.parametrize("config", [{**PLAYBOOK, "inputs": True}, {**PLAYBOOK, "deploy_script": "run.sh"}, {}])
    async def test_other_services_take_any_values(self, site: Site, config: dict[str, Any]) -> None:
        deployment_id = await start(site, await site.service(**config), {"version": 1})
        assert (await site.deployment(deployment_id)).context == {"env": {"version": 1}}

    async def test_a_sync_lists_services_that_used_to_get_values(self, site: Site, tmp_path: Path) -> None:
        folders = ServiceFolders(tmp_path / "services")
        configs: dict[str, dict[str, Any]] = {
            "shop": PLAYBOOK,
            "blog": PLAYBOOK,
            "any": {**PLAYBOOK, "inputs": True},
        }
        for name, config in configs.items():
            write_folder(tmp_path / "services" / name, config, "site.yml")
            await start(site, await site.service(name, inputs=True), {"version": 1} if name != "blog" else {})
        (problem,) = await folder_problems(folders, site.open_uow)
        assert (problem.folder, problem.file, problem.is_minor) == ("shop", "config.json", True)
        assert "passed values to the playbook (version)" in problem.reason
        write_folder(tmp_path / "services" / "shop", PLAYBOOK, "deploy.sh")
        assert await folder_problems(folders, site.open_uow) == []


async def test_a_sync_reports_inputs_that_ansible_cannot_use_as_variables(site: Site, tmp_path: Path) -> None:
    names = [
        "environment",
        "become",
        "hostvars",
        "import",
        "true",
        "api-key",
        "ansible_host",
        "lookup",
        "version",
        "size",
    ]
    inputs = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    folders = ServiceFolders(tmp_path / "services")
    write_folder(tmp_path / "services" / "shop", {**PLAYBOOK, "inputs": inputs}, "site.yml")
    write_folder(tmp_path / "services" / "script", {"inputs": inputs}, "deploy.sh")
    (problem,) = await folder_problems(folders, site.open_uow)
    assert (problem.folder, problem.is_minor) == ("shop", True)
    assert f": {', '.join(names[:-2])}. Rename them" in problem.reason
    _, checked_before = await sync_services(
        folders, site.bus, site.open_uow, by=WORKER, accepted={"shop": inputs, "script": inputs}
    )
    assert checked_before == []


def write_folder(folder: Path, config: dict[str, Any], *files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for file in files:
        (folder / file).write_text("[]\n")

"""The secrets of runs in PostgreSQL: stored sealed before the run starts, masked in reports, deleted at its end."""

from __future__ import annotations

import pytest

from deploy.adapters.sealing import Vault
from deploy.domain.commands import FailLostRun, PrepareRun, ReportStep
from deploy.domain.errors import Conflict
from deploy.domain.events import RunPrepared
from deploy.domain.model import StepReport, StepState
from deploy.domain.policy import WORKER
from deploy.domain.rights import EVERYTHING
from deploy.domain.run_secrets import RunSecrets
from deploy.service_layer.run_secrets import StoredSecrets
from tests.runs import ended
from tests.site import Site

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLW9mLXRoaXMtZGVwbG95bWVudA"
INPUTS = {"type": "object", "properties": {"password": {"type": "string", "writeOnly": True}}}
PASSWORD = "s3cret-value"


async def prepared(site: Site, deployment_id: int, token: str = TOKEN) -> RunSecrets:
    """Store the token of a run, as its worker does before it starts."""
    (event,) = await site.bus.handle(PrepareRun(deployment_id=deployment_id, token=token), by=WORKER)
    assert isinstance(event, RunPrepared)
    return event.secrets


async def found(site: Site, deployment_id: int) -> RunSecrets:
    """Return the secrets as a worker finds them after a restart."""
    async with site.open_uow() as uow:
        deployment = await uow.deployments.get(deployment_id, visible=EVERYTHING)
        return await StoredSecrets(Vault("the secret key of these tests")).find(deployment, uow)


async def sealed(site: Site, deployment_id: int) -> bytes | None:
    async with site.open_uow() as uow:
        return await uow.secrets.get(deployment_id)


async def test_the_token_is_stored_sealed_with_the_secret_inputs(site: Site) -> None:
    deployment_id = await site.start(await site.service(inputs=INPUTS), context={"env": {"password": PASSWORD}})
    await site.claim()
    secrets = await prepared(site, deployment_id)
    assert secrets == RunSecrets(inputs={"password": PASSWORD}, token=TOKEN)
    assert await found(site, deployment_id) == secrets
    stored = await sealed(site, deployment_id) or b""
    assert (TOKEN.encode() in stored, PASSWORD.encode() in stored) == (False, False)


async def test_a_run_that_is_prepared_again_gets_a_new_token(site: Site) -> None:
    deployment_id = await site.running()
    await prepared(site, deployment_id, TOKEN + "-of-a-worker-that-died")
    assert await prepared(site, deployment_id) == await found(site, deployment_id) == RunSecrets(token=TOKEN)


@pytest.mark.parametrize("how", ["ended", "lost"])
async def test_the_token_is_deleted_when_the_run_ends(site: Site, how: str) -> None:
    deployment_id = await site.running()
    await prepared(site, deployment_id)
    if how == "ended":
        await site.take_in(deployment_id, ended(0))
    else:
        await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason="gone"), by=WORKER)
    assert await sealed(site, deployment_id) is None
    with pytest.raises(Conflict, match="already finished"):
        await prepared(site, deployment_id)
    assert await sealed(site, deployment_id) is None


async def test_the_token_is_masked_in_reports_without_secret_inputs(site: Site) -> None:
    deployment_id = await site.running()
    await prepared(site, deployment_id)
    report = StepReport(
        name=f"Use {TOKEN}", state=StepState.FAILURE, message=f"{TOKEN} failed", detail={TOKEN: [TOKEN.encode().hex()]}
    )
    await site.bus.handle(ReportStep(deployment_id=deployment_id, report=report), by=WORKER)
    step = (await site.steps(deployment_id))[0]
    assert (step.name, step.message, step.detail) == ("Use ***", "*** failed", {"***": ["***"]})
    assert (await site.deployment(deployment_id)).reason == "The step “Use ***” failed: *** failed"


async def test_a_run_of_an_earlier_version_has_no_stored_token(site: Site) -> None:
    deployment_id = await site.running()
    assert await found(site, deployment_id) == RunSecrets()
    report = StepReport(name="Build", state=StepState.SUCCESS, message="done")
    await site.bus.handle(ReportStep(deployment_id=deployment_id, report=report), by=WORKER)
    assert (await site.steps(deployment_id))[0].message == "done"

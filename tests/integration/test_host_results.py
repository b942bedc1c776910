"""Store, count, and page through the results of steps on hosts, against PostgreSQL."""

from __future__ import annotations

import json
from typing import Any

from deploy.adapters.repository.hosts import Place, ResultFilter
from deploy.domain.model import HostResult, HostSummary, Outcome, StepResult
from deploy.domain.reports import Entry, HostReported, Line
from deploy.domain.rights import EVERYTHING, NOTHING
from deploy.service_layer.ingest.running_deployments import RunningDeployments
from tests.integration.test_handlers_runs import execute
from tests.runs import at, ended, reported
from tests.site import Site

ALL = ResultFilter()


def result(task: str, host: str, outcome: Outcome = Outcome.OK, **more: Any) -> HostReported:
    """Return the result of a task on a host."""
    return HostReported(HostResult(task=task, host=host, outcome=outcome, **more), at(2))


def task(name: str, *results: Entry, state: str = "success") -> list[Entry]:
    """Return a whole task with its results. Its ID is its name."""
    start = reported(name, "running", detail={"task": name}, planned=True)
    return [start, *results, reported(name, state, detail={"task": name}, planned=True)]


async def listed(site: Site, deployment_id: int, *, limit: int = 100, only: ResultFilter = ALL) -> list[StepResult]:
    """Return all results, read in pages of `limit`."""
    found: list[StepResult] = []
    place = Place()
    while True:
        async with site.open_uow() as uow:
            page = await uow.hosts.list(deployment_id, visible=EVERYTHING, limit=limit, after=place, only=only)
        found += [entry[0] for entry in page]
        if len(page) < limit:
            return found
        place = page[-1][2]


async def test_results_are_listed_in_pages_with_failures_first(site: Site) -> None:
    deployment_id = await site.running()
    outcomes = [Outcome.SKIPPED, Outcome.OK, Outcome.CHANGED, Outcome.IGNORED, Outcome.UNREACHABLE, Outcome.FAILED]
    results = [result("A", f"web{n}", outcome, message="m" * 1000, diff="+x") for n, outcome in enumerate(outcomes)]
    await site.take_in(deployment_id, *task("A", *results), *task("B", result("B", "web0")))
    found = await listed(site, deployment_id, limit=2)
    assert [(one.host, one.outcome) for one in found] == [
        ("web4", Outcome.UNREACHABLE),
        ("web5", Outcome.FAILED),
        ("web3", Outcome.IGNORED),
        ("web2", Outcome.CHANGED),
        ("web1", Outcome.OK),
        ("web0", Outcome.OK),
        ("web0", Outcome.SKIPPED),
    ]
    assert {one.diff for one in found} == {None}
    assert max(len(one.message) for one in found) < 400
    step = found[0].step_id
    only = ResultFilter(step_id=step, outcomes=(Outcome.FAILED, Outcome.OK), text="WEB")
    assert [one.host for one in await listed(site, deployment_id, only=only)] == ["web5", "web1"]
    async with site.open_uow() as uow:
        whole = await uow.hosts.one(deployment_id, step, "web5", visible=EVERYTHING)
        assert whole is not None
        assert (whole.message, whole.diff) == ("m" * 1000, "+x")
        assert await uow.hosts.one(deployment_id, step, "web5", visible=NOTHING) is None
        assert await uow.hosts.summary(deployment_id, visible=NOTHING) is None


async def test_the_recap_counts_tasks_as_ansible_does(site: Site) -> None:
    deployment_id = await site.running()
    for number, outcome in enumerate(Outcome):
        await site.take_in(deployment_id, *task(f"T{number}", result(f"T{number}", "web1", outcome)))
    await site.take_in(deployment_id, *task("Z", result("Z", "web2", Outcome.CHANGED), result("Z", "db1")))
    async with site.open_uow() as uow:
        recaps = await uow.hosts.recaps(deployment_id, visible=EVERYTHING, limit=9, after=Place(), text="")
        summary = await uow.hosts.summary(deployment_id, visible=EVERYTHING)
    assert [recap.host for recap in recaps] == ["web1", "db1", "web2"]
    first = recaps[0]
    assert (first.ok, first.changed, first.failed, first.unreachable) == (3, 1, 1, 1)
    assert (first.skipped, first.rescued, first.ignored) == (1, 1, 1)
    assert (recaps[2].ok, recaps[2].changed) == (1, 1)
    assert summary == HostSummary(total=3, ok=1, changed=1, failed=0, unreachable=1)


async def test_results_are_counted_once_if_a_worker_continues_the_run_of_another(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr(RunningDeployments, "take", lambda *_: None)
    deployment_id = await site.running()
    first, last = task("A", state="failure")
    await site.take_in(deployment_id, first, result("A", "web1", Outcome.FAILED, message="no"), result("A", "web2"))
    await site.take_in(deployment_id, result("A", "web1", Outcome.FAILED, message="no"), result("A", "web3"))
    await site.take_in(deployment_id, last, ended(2, is_playbook=True))
    (step,) = await site.steps(deployment_id)
    assert step.host_counts == {"ok": 2, "failed": 1}
    assert (await site.deployment(deployment_id)).reason == "1 of 3 hosts failed: web1 failed (A): no"


async def test_results_of_a_removed_step_are_removed(site: Site) -> None:
    deployment_id = await site.running()
    await site.take_in(deployment_id, task("A")[0], result("A", "web1"))
    await site.take_in(deployment_id, ended(0))
    assert await site.steps(deployment_id) == []
    assert await listed(site, deployment_id) == []


async def test_clients_that_do_not_follow_receive_only_counts(site: Site) -> None:
    deployment_id = await site.running()
    results = [result("A", f"web{n}", Outcome.CHANGED, message="m" * 5000, diff="+" * 5000) for n in range(50)]
    line = Line("changed: [web0]", at(1), host="web0")
    await site.take_in(deployment_id, *task("A", line, *results))
    async with site.open_uow() as uow:
        events = await uow.events.after(deployment_id, 0, visible=EVERYTHING, with_output=False)
        output = await uow.events.output_after(deployment_id, 0, visible=EVERYTHING)
    messages = [json.loads(event.message) for event in events]
    assert {message["type"] for message in messages} == {"deployment", "step"}
    assert messages[-1]["host_counts"] == {"changed": 50}
    assert len([event.message for event in output]) == 1
    hosts = [message for message in await site.messages(deployment_id) if message["type"] == "host"]
    assert [message["host"] for message in hosts] == [f"web{n}" for n in range(50)]
    assert hosts[0]["lines"] == [[1, 1]]
    assert all(message["has_more"] and message["diff"] is None for message in hosts)
    assert max(len(json.dumps(message)) for message in hosts) < 1000


async def test_results_that_an_earlier_version_stored_are_still_shown(site: Site) -> None:
    deployment_id = await site.running()
    await site.take_in(deployment_id, *task("A", state="failure"), ended(2, is_playbook=True))
    old = [
        {"host": f"web{n}", "outcome": "failed" if n == 11 else "changed", "duration": 1, "message": "m", "diff": "+x"}
        for n in range(12)
    ]
    await execute(
        site,
        "UPDATE steps SET hosts = CAST(:hosts AS json), host_counts = NULL WHERE deployment_id = :id",
        hosts=json.dumps(old),
        id=deployment_id,
    )
    (step,) = await site.steps(deployment_id)
    assert step.host_counts == {"changed": 11, "failed": 1}
    assert [shown["host"] for shown in step.hosts] == ["web11", *(f"web{n}" for n in range(9))]
    assert len(await listed(site, deployment_id, limit=5)) == 12
    async with site.open_uow() as uow:
        whole = await uow.hosts.one(deployment_id, step.id, "web11", visible=EVERYTHING)
        summary = await uow.hosts.summary(deployment_id, visible=EVERYTHING)
    assert whole is not None
    assert (whole.diff, whole.lines) == ("+x", [])
    assert summary == HostSummary(total=12, ok=0, changed=11, failed=1, unreachable=0)

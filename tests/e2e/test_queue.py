"""The queue as a whole: running and waiting deployments, the reasons they are waiting, and the workers."""

from __future__ import annotations

from typing import Any

from tests.e2e.api import answer
from tests.e2e.gates import gate
from tests.e2e.server import Server


def queue(server: Server) -> dict[str, Any]:
    return dict(answer(server.api.admin.get("/queue/")))


def test_the_queue_matches_the_single_deployments(server: Server) -> None:
    api = server.api
    first, second = gate(server), gate(server, {"concurrency": 2})
    ids = [int(api.start(one.service)["id"]) for one in (first, first, first, second, second, second)]
    for gated, number in ((first, ids[0]), (second, ids[3]), (second, ids[4])):
        gated.wait_until_begun(number)
    details = queue(server)
    assert [one["id"] for one in details["running"] if one["id"] in ids] == [ids[0], ids[3], ids[4]]
    waiting = [one for one in details["waiting"] if one["id"] in ids]
    assert [one["id"] for one in waiting] == [ids[1], ids[2], ids[5]]
    for one in waiting:
        alone = api.deployment(one["id"])
        assert one == {name: alone[name] for name in one}
    assert [one["waiting"]["position"] for one in waiting] == [1, 2, 1]
    reason = f"Deployment {ids[0]} of {first.service} is running ahead of it; one at a time."
    assert waiting[0]["waiting"]["reason"] == reason
    (worker,) = details["workers"]
    assert worker["alive"] is True
    assert {ids[0], ids[3], ids[4]} <= set(worker["running"])
    assert [worker] == [{**one, "last_seen": worker["last_seen"]} for one in answer(api.admin.get("/workers/"))]
    for gated in (first, second):
        gated.release(*ids)
    for number in ids:
        api.wait_until_final(number)
    over = queue(server)
    assert not {one["id"] for one in [*over["running"], *over["waiting"]]} & set(ids)

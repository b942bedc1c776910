"""The queue runs one deployment per service at a time, in order. Repeated requests do not start anything new."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import say, shell, steps
from tests.e2e.gates import gate, read_record, recording
from tests.e2e.server import Server
from tests.e2e.waiting import wait_until

SERVICES, AT_ONCE = 5, 20


def waiting(api: Api, deployment_id: int) -> dict[str, Any]:
    return dict(api.deployment(deployment_id)["waiting"])


def wait_until_all_final(api: Api, ids: list[int]) -> list[dict[str, Any]]:
    """Return the deployments, which must be the newest ones, once all of them are final."""

    def found() -> list[dict[str, Any]]:
        newest = answer(api.admin.get("/deployments/", params={"limit": 1000}))
        over = [one for one in newest if one["id"] in ids and one["finished"] is not None]
        return over if len(over) == len(ids) else []

    return wait_until(found, "all deployments to end", timeout=120)


@pytest.mark.parametrize("starts", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_concurrent_starts_each_run_once_in_order_and_alone(server: Server, starts: int) -> None:
    api = server.api
    names = [server.add_service(recording()) for _ in range(SERVICES)]
    tokens = {name: api.service_token(name) for name in names}

    def start(number: int) -> tuple[str, int]:
        name = names[number % SERVICES]
        return name, int(api.start(name, token=tokens[name])["id"])

    clients = [api.client(token) for token in tokens.values()]
    assert len(clients) == SERVICES
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started = list(pool.map(start, range(starts)))
    over = wait_until_all_final(api, [deployment_id for _, deployment_id in started])
    assert {deployment["state"] for deployment in over} == {"success"}
    for name in names:
        ids = sorted(deployment["id"] for deployment in over if deployment["service"] == name)
        record = read_record(server.services_dir / name)
        assert record[-2 * len(ids) :] == [(what, one) for one in ids for what in ("begin", "end")]


def test_a_service_runs_as_many_deployments_as_its_config_allows(server: Server) -> None:
    gated = gate(server, {"concurrency": 3})
    ids = [int(server.api.start(gated.service)["id"]) for _ in range(9)]
    gated.wait_until_begun(*ids[:3])
    service = server.api.service(gated.service)
    assert [one["state"] for one in service["active_deployments"]] == ["running"] * 3 + ["queued"] * 2
    assert service["active_count"] == 9
    gated.release(*ids)
    assert {one["state"] for one in wait_until_all_final(server.api, ids)} == {"success"}
    assert gated.max_parallel() == 3
    assert sorted(gated.begun()) == ids


def test_a_finished_run_lets_the_longest_waiting_one_start(server: Server) -> None:
    gated = gate(server, {"concurrency": 2})
    long, *others = [int(server.api.start(gated.service)["id"]) for _ in range(6)]
    for deployment_id in others:
        gated.wait_until_begun(deployment_id)
        gated.release(deployment_id)
    assert server.api.wait_until_final(others[-1])["state"] == "success"
    assert server.api.deployment(long)["state"] == "running"
    assert sorted(gated.begun()[:2]) == [long, others[0]]
    assert gated.begun()[2:] == others[1:]
    gated.release(long)
    server.api.wait_until_final(long)


def test_a_waiting_deployment_lists_those_ahead(server: Server) -> None:
    api, gated = server.api, gate(server)
    first, second, third = (int(api.start(gated.service)["id"]) for _ in range(3))
    gated.wait_until_begun(first)
    assert api.deployment(first)["waiting"] is None
    assert waiting(api, second) == {
        "position": 1,
        "blocked_by": first,
        "reason": f"Deployment {first} of {gated.service} is running ahead of it; one at a time.",
    }
    assert waiting(api, third) == {
        "position": 2,
        "blocked_by": second,
        "reason": f"Deployment {second} of {gated.service} is waiting ahead of it; one at a time.",
    }
    gated.release(first)
    gated.wait_until_begun(second)
    assert (waiting(api, third)["position"], waiting(api, third)["blocked_by"]) == (1, second)
    gated.release(second, third)
    api.wait_until_final(third)
    assert gated.begun() == [first, second, third]


def test_a_deployment_waiting_for_its_share_gives_that_reason(server: Server) -> None:
    api, gated = server.api, gate(server, {"concurrency": 2})
    first, second, third, fourth = (int(api.start(gated.service)["id"]) for _ in range(4))
    gated.wait_until_begun(first, second)
    why = waiting(api, third)
    assert why == {
        "position": 1,
        "blocked_by": why["blocked_by"],
        "reason": f"Deployment {why['blocked_by']} of {gated.service} is running ahead of it; 2 at a time.",
    }
    assert why["blocked_by"] in (first, second)
    assert (waiting(api, fourth)["position"], waiting(api, fourth)["blocked_by"]) == (2, third)
    gated.release(first, second, third, fourth)
    wait_until_all_final(api, [first, second, third, fourth])


def parallel_starts(server: Server, service_id: int, key: str) -> list[httpx2.Response]:
    url, client = f"/services/{service_id}/deployments", server.api.admin
    with ThreadPoolExecutor(AT_ONCE) as pool:
        calls = [
            pool.submit(client.post, url, json={"env": {"TAG": "v1"}}, headers={"Idempotency-Key": key})
            for _ in range(AT_ONCE)
        ]
    return [call.result() for call in calls]


def test_requests_with_the_same_key_start_one_deployment(server: Server) -> None:
    api = server.api
    service_id = api.service(server.add_service(shell(say("Only"))))["id"]
    responses = parallel_starts(server, service_id, "double click")
    assert {response.status_code for response in responses} == {200}
    (deployment_id,) = {response.json()["id"] for response in responses}
    api.wait_until_final(deployment_id)
    url, key = f"/services/{service_id}/deployments", {"Idempotency-Key": "double click"}
    assert answer(api.admin.post(url, json={"env": {"TAG": "v1"}}, headers=key))["id"] == deployment_id
    rejected = api.admin.post(url, json={"env": {"TAG": "v2"}}, headers=key)
    assert rejected.status_code == 409
    assert "Idempotency-Key" in rejected.json()["detail"]
    listed = answer(api.admin.get("/deployments/", params={"service_id": service_id}))
    assert [deployment["id"] for deployment in listed] == [deployment_id]


@pytest.mark.parametrize("key", [b"", b"\xa0", b"\xa0\x85\xa0", b"x" * 201])
def test_an_invalid_key_is_rejected(server: Server, key: bytes) -> None:
    api = server.api
    name = server.add_service(shell(say("Only")))
    service_id = api.service(name)["id"]
    as_service = api.client(api.service_token(name))
    headers = [(b"Idempotency-Key", key)]
    for rejected in (
        api.admin.post(f"/services/{service_id}/deployments", headers=headers),
        as_service.post("/deployments/", headers=headers),
        api.admin.post("/deployments/1/retry", headers=headers),
    ):
        (fault,) = rejected.json()["detail"]
        assert (rejected.status_code, fault["loc"]) == (422, ["header", "Idempotency-Key"])
        assert "1 to 200 characters" in fault["msg"]
    assert answer(api.admin.get("/deployments/", params={"service_id": service_id})) == []


def test_the_origin_is_not_part_of_a_repeated_request(server: Server) -> None:
    api = server.api
    url = f"/services/{api.service(server.add_service(shell(say('Only'))))['id']}/deployments"
    key = {"Idempotency-Key": "wherever"}
    ids = {answer(api.admin.post(url, json={"origin": one}, headers=key))["id"] for one in ("here", "there")}
    assert len(ids) == 1
    wait_until_all_final(api, list(ids))


def test_a_key_belongs_to_its_service(server: Server) -> None:
    names = [server.add_service(shell(say("Only"))) for _ in range(2)]
    key = {"Idempotency-Key": "the same"}
    started = set()
    for name in names:
        client = server.api.client(server.api.service_token(name))
        ids = {answer(client.post("/deployments/", headers=key))["id"] for _ in range(2)}
        assert len(ids) == 1
        started |= ids
    assert len(started) == 2
    wait_until_all_final(server.api, list(started))


def test_a_retry_repeats_a_deployment_and_links_to_it(server: Server) -> None:
    api = server.api
    name = server.add_service(
        shell('grep -q \'"TAG": "v1"\' "$DEPLOY_CONFIG_FILE"\n' + say("Two", "failure", message="oh")),
        config={"steps": steps("One", "Two")},
    )
    failed = api.run(name, {"TAG": "v1", "deep": {"list": [1, None]}})
    url = f"/deployments/{failed['id']}/retry"
    key = {"Idempotency-Key": "retry"}
    again = answer(api.admin.post(url, headers=key))
    assert (again["retry_of"], again["context"]) == (failed["id"], failed["context"])
    assert (again["service_id"], again["origin"]) == (failed["service_id"], failed["origin"])
    assert answer(api.admin.post(url, headers=key))["id"] == again["id"] != failed["id"]
    found = api.wait_until_final(again["id"])
    assert (found["state"], found["reason"]) == (failed["state"], failed["reason"])
    assert [step["name"] for step in found["steps"]] == [step["name"] for step in failed["steps"]]
    assert api.deployment(failed["id"]) == failed


def test_an_unfinished_deployment_cannot_be_retried(server: Server) -> None:
    gated = gate(server)
    running, queued = (int(server.api.start(gated.service)["id"]) for _ in range(2))
    gated.wait_until_begun(running)
    for deployment_id in (running, queued):
        assert server.api.admin.post(f"/deployments/{deployment_id}/retry").status_code == 409
    gated.release(running, queued)
    server.api.wait_until_final(queued)

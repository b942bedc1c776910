"""Contract, HTTP: the list of deployments and its pages."""

from collections.abc import Iterator

import pytest

from tests.e2e.api import Api, answer
from tests.e2e.server import Server

MORE_THAN_A_PAGE = 103


@pytest.fixture(scope="module")
def history(server: Server) -> Iterator[list[int]]:
    """Yield the IDs of more deployments than fit on a page, oldest first.

    One is running, and the others are waiting.
    """
    with server.puppet() as (name, puppet):
        ids = [server.api.start(name)["id"] for _ in range(MORE_THAN_A_PAGE)]
        yield ids
        for number in reversed(ids[1:]):
            assert server.api.admin.post(f"/deployments/{number}/cancel").is_success
        puppet.exit()
        server.api.wait_until_final(ids[0])


def listed(api: Api, **query: int | str) -> list[int]:
    return [deployment["id"] for deployment in answer(api.admin.get("/deployments/", params=query))]


def test_the_newest_hundred_are_listed_by_default(api: Api, history: list[int]) -> None:
    assert listed(api) == history[:-101:-1]


def test_a_limit_changes_the_page_size(api: Api, history: list[int]) -> None:
    assert listed(api, limit=1) == history[-1:]
    assert listed(api, limit=1000)[: len(history)] == history[::-1]


def test_pages_have_no_gaps(api: Api, history: list[int]) -> None:
    seen: list[int] = []
    while page := listed(api, limit=17, **({"before": seen[-1]} if seen else {})):
        assert len(page) <= 17
        seen += page
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(set(seen))
    assert set(history) <= set(seen)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "before=x",
        "before=-1",
        "before=99999999999999999999",
        "state=odd",
        "state=queued&state=odd",
        "since=yesterday",
        "until=9999-12-31T23:59:59-14:00",
    ],
)
def test_an_invalid_page_is_rejected(api: Api, query: str) -> None:
    assert api.admin.get(f"/deployments/?{query}").status_code == 422


def test_each_entry_has_the_fields_of_the_contract(api: Api, history: list[int]) -> None:
    fields = {"id", "service_id", "origin", "user", "started", "finished", "context", "state"}
    for entry in answer(api.admin.get("/deployments/", params={"limit": 5})):
        assert set(entry) >= fields


def test_the_list_can_be_filtered(api: Api, history: list[int]) -> None:
    service_id = api.deployment(history[0])["service_id"]
    assert listed(api, service_id=service_id, state="queued", limit=1000) == history[:0:-1]
    assert listed(api, service_id=service_id, state="running") == history[:1]
    assert listed(api, service_id=service_id, origin="elsewhere") == []
    assert listed(api, service_id=service_id, user="nobody") == []


def test_several_states_can_be_listed_together(api: Api, history: list[int]) -> None:
    service_id = api.deployment(history[0])["service_id"]
    query = f"service_id={service_id}&limit=1000&state=queued"
    found = answer(api.admin.get(f"/deployments/?{query}&state=running&state=success"))
    assert [deployment["id"] for deployment in found] == history[::-1]
    assert listed(api, service_id=service_id, state="failure") == []


def test_a_time_filter_works_with_pages(api: Api, history: list[int]) -> None:
    first, last = (api.deployment(history[n])["created"] for n in (10, 20))
    assert listed(api, since=first, until=last) == history[19:9:-1]
    assert listed(api, since=first, until=last, before=history[15], limit=3) == history[14:11:-1]
    assert listed(api, since=last)[-1] == history[20]
    # 14:00 at +02:00 is 12:00 in UTC. Times without an offset are in UTC.
    assert listed(api, since="2020-01-01T14:00:00+02:00", until="2020-01-01T12:00:00.000001") == []
    assert listed(api, until="2020-01-01") == []


def test_one_deployment_of_a_service_at_a_time(api: Api, history: list[int]) -> None:
    waiting = api.deployment(history[1])["waiting"]
    assert waiting["blocked_by"] == history[0]
    assert waiting["position"] == 1

"""Contract, WebSocket: which messages arrive, when, in which order, and for which clients."""

import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.e2e.api import Api, answer
from tests.e2e.folders import Puppet, report, say, shell, write_service
from tests.e2e.live import Live
from tests.e2e.server import Server

DEPLOYMENT = {"type", "id", "service_id", "origin", "user", "started", "finished", "context", "state"}
STEP = {"type", "id", "name", "state", "deployment_id", "message", "started", "finished", "deleted"}
SERVICE = {"type", "id", "name", "data", "deleted"}
NUMBERED = {"seq", "deployment_id"}
GARBAGE = [
    "",
    "nonsense",
    "[]",
    "5",
    "null",
    '{"a": ',
    "{}",
    "[" * 10_000,
    '{"access_token": ',
    "\x00",
    '{"access_token": 5}',
    '{"access_token": {"a": []}}',
    '{"access_token": null}',
    json.dumps({"access_token": "x" * 60_000}),
]


# Signing in


def test_nothing_is_sent_before_success(server: Server, api: Api) -> None:
    service = server.add_service(shell(say("A")))
    with api.live() as observer, Live(api.base_url) as live:
        done = api.run(service)
        observer.wait_for_state(done["id"])
        assert live.is_silent()
        assert live.sign_in("nonsense")["status"] == "failure"
        other = api.run(service)
        observer.wait_for_state(other["id"])
        assert live.is_silent()
        assert live.messages == live.of_type("authentication")
        assert live.sign_in(api.token)["status"] == "success"
        last = api.start(service)
        live.wait_for_state(last["id"])
        assert live.about(done["id"]) == live.about(other["id"]) == []


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
def test_a_valid_token_is_accepted_after_an_invalid_one(api: Api, token: str) -> None:
    with Live(api.base_url) as live:
        reply = live.sign_in(token)
        assert set(reply) == {"type", "status", "detail"}
        assert (reply["type"], reply["status"]) == ("authentication", "failure")
        assert reply["detail"] == ("Could not validate credentials" if token else "Not authenticated")
        reply = live.sign_in(api.token)
        assert set(reply) == {"type", "status", "detail"}
        assert (reply["type"], reply["status"]) == ("authentication", "success")


def test_a_token_larger_than_the_message_limit_fails(api: Api) -> None:
    with Live(api.base_url) as live:
        reply = live.sign_in("x" * 100_000)
        assert (reply["type"], reply["status"]) == ("authentication", "failure")
        assert "64" in reply["detail"] or "65536" in reply["detail"]


def test_garbage_instead_of_a_token_fails(api: Api) -> None:
    with Live(api.base_url) as live:
        for count, garbage in enumerate([*GARBAGE, b"\xff\x00"], 1):
            live.send(garbage)
            live.wait_for_count("authentication", count)
        assert {message["status"] for message in live.of_type("authentication")} == {"failure"}
        assert live.sign_in(api.token)["status"] == "success"


def test_pages_of_other_sites_are_rejected(api: Api) -> None:
    for origin in ("https://evil.example.org", f"{api.base_url}.evil.example.org", "null", "http://localhost:1"):
        with pytest.raises(InvalidStatus) as rejected:
            Live(api.base_url, origin=origin)
        assert rejected.value.response.status_code == 403
    with api.live(origin=api.base_url):
        pass


def test_the_client_id_must_be_a_uuid(api: Api) -> None:
    with pytest.raises(InvalidStatus) as rejected:
        Live(api.base_url, client_id="somebody")
    assert rejected.value.response.status_code in {403, 404}


def test_a_new_token_renews_the_session(api: Api) -> None:
    with api.live() as live:
        assert live.sign_in(api.sign_in(api.user, api.password))["status"] == "success"
        assert live.sign_in("nonsense")["status"] == "failure"
        live.send({"ping": 1})
        assert live.is_silent()


def test_another_user_cannot_take_over_a_connection(server: Server, api: Api) -> None:
    name = server.new_name("user")
    api.create_user(name, "another password")
    with api.live() as live:
        assert live.sign_in(api.sign_in(name, "another password"))["status"] == "failure"


# Messages


def test_each_change_of_a_deployment_is_sent(api: Api, held: tuple[dict[str, Any], Puppet]) -> None:
    started, puppet = held
    with api.live() as live:
        live.subscribe(started["id"])
        puppet.exit()
        final = live.wait_for_state(started["id"])
        sent = [message for message in live.transcript(started["id"]) if message["type"] == "deployment"]
    assert [message["state"] for message in sent] == ["queued", "running", "success"]
    for message in sent:
        assert set(message) >= DEPLOYMENT | NUMBERED
        assert message["id"] == message["deployment_id"] == started["id"]
        assert (message["origin"], message["user"]) == (started["origin"], started["user"])
        assert message["context"] == {"env": {"TAG": "v1"}}
    assert [bool(message["started"]) for message in sent] == [False, True, True]
    assert [bool(message["finished"]) for message in sent] == [False, False, True]
    stored = api.deployment(started["id"])
    assert {key: stored[key] for key in final if key in stored} == {key: final[key] for key in final if key in stored}


def test_each_change_of_a_step_and_its_removal_are_sent(api: Api, held: tuple[dict[str, Any], Puppet]) -> None:
    started, puppet = held
    with api.live() as live:
        live.subscribe(started["id"])
        puppet.print(report("One", "running", message="half way"), report("One", "success", message="done"))
        puppet.exit()
        live.wait_for_state(started["id"])
        sent = [message for message in live.transcript(started["id"]) if message["type"] == "step"]
    assert all(set(message) >= STEP | NUMBERED for message in sent)
    assert [(message["name"], message["state"], message["message"], message["deleted"]) for message in sent] == [
        ("One", "pending", "", False),
        ("Two", "pending", "", False),
        ("One", "running", "half way", False),
        ("One", "success", "done", False),
        ("Two", "running", "", False),
        ("Two", "running", "", True),
    ]
    assert [step["name"] for step in api.steps(started["id"])] == ["One"]


def test_added_changed_and_deleted_services_are_sent(server: Server, api: Api) -> None:
    name = server.new_name()
    with api.live() as live:
        for count, config in enumerate(({"description": "first"}, {"description": "second"}), 1):
            server.add_service(shell("true"), name=name, config=config)
            message = live.wait_for_count("service", count)
            assert set(message) >= SERVICE
            assert (message["name"], message["data"], message["deleted"]) == (name, config, False)
            assert message["id"] == api.service(name)["id"]
        assert api.admin.delete(f"/services/{message['id']}").is_success
        gone = live.wait_for(lambda sent: sent["type"] == "service" and sent["deleted"])
        assert (gone["id"], gone["name"]) == (message["id"], name)


def test_removing_a_folder_removes_its_service(server: Server, api: Api) -> None:
    name = server.add_service(shell("true"))
    with api.live() as live:
        (server.services_dir / name / "config.json").unlink()
        (server.services_dir / name / "deploy.sh").unlink()
        (server.services_dir / name).rmdir()
        assert api.sync()["removed"] == [name]
        gone = live.wait_for(lambda sent: sent["type"] == "service" and sent["deleted"])
        assert gone["name"] == name


# Invalid messages


@pytest.mark.parametrize("wanted", [987654321, 0, -1, 2**70, "5", None, [], True, 1.5])
def test_subscribing_to_a_missing_deployment_gets_a_warning(api: Api, wanted: object) -> None:
    with api.live() as live:
        live.send({"subscribe": {"deployment_id": wanted if wanted is not True else 987654321, "after": wanted}})
        warning = live.wait_for(lambda sent: sent["type"] == "warning")
        assert (warning["code"], warning["detail"]) == ("not_found", "Deployment not found")


def test_each_invalid_message_gets_a_warning(server: Server, api: Api) -> None:
    invalid: list[str | bytes] = [garbage for garbage in GARBAGE if "access_token" not in garbage]
    invalid += [b"\xff\x00", '{"unsubscribe": 5}', '{"subscribe": 5}', '{"subscribe": []}', '{"type": "deployment"}']
    with api.live() as live:
        for count, garbage in enumerate(invalid, 1):
            live.send(garbage)
            live.wait_for_count("warning", count)
        started = api.start(server.add_service(shell("true")))
        live.wait_for_state(started["id"])


def test_a_deployment_is_the_same_over_http_and_websocket(server: Server, api: Api) -> None:
    write_service(server.services_dir, name := server.new_name(), script=shell("exit 3"))
    answer(api.admin.post("/services/sync"))
    with api.live() as live:
        started = api.start(name)
        final = live.wait_for_state(started["id"])
    assert final["state"] == "failure"
    listed = answer(api.admin.get("/deployments/", params={"service_id": started["service_id"]}))[0]
    assert {key: listed[key] for key in DEPLOYMENT - {"type"}} == {key: final[key] for key in DEPLOYMENT - {"type"}}

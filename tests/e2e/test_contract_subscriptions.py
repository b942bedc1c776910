"""Contract, WebSocket: subscriptions, and that all clients receive the same messages in the same order."""

from typing import Any

from tests.e2e.api import Api
from tests.e2e.folders import Puppet, say, shell, steps
from tests.e2e.server import Server


def test_only_subscribers_get_output(api: Api, held: tuple[dict[str, Any], Puppet]) -> None:
    started, puppet = held
    with api.live() as subscriber, api.live() as other:
        subscriber.subscribe(started["id"])
        puppet.print("a line", "another one")
        puppet.exit()
        subscriber.wait_for_state(started["id"])
        other.wait_for_state(started["id"])
        assert other.of_type("output") == []
        received = subscriber.of_type("output")
    lines = [line for message in received for line in message["lines"]]
    assert [(number, text) for number, _, text, _ in lines] == [(1, "a line"), (2, "another one")]
    assert all(set(message) >= {"type", "lines", "seq", "deployment_id"} for message in received)


def test_late_and_returning_subscribers_get_stored_messages(server: Server, api: Api) -> None:
    script = shell("\n".join(say(f"S{number}") + f"echo line {number}" for number in range(20)))
    name = server.add_service(script, config={"steps": steps("S3", "S4", "left over")})
    with api.live() as early, api.live() as twin:
        started = api.start(name)
        early.subscribe(started["id"])
        early.wait_for_state(started["id"])
        stored = api.events(started["id"])
        twin.subscribe(started["id"])
        for live in (early, twin):
            assert live.wait_for_transcript(started["id"], len(stored)) == stored
    assert [event["seq"] for event in stored] == list(range(1, len(stored) + 1))
    with api.live() as late:
        late.subscribe(started["id"])
        late.wait_for_state(started["id"])
        assert late.about(started["id"]) == stored
        late.messages.clear()
        late.subscribe(started["id"], after=stored[9]["seq"])
        late.wait_for_state(started["id"])
        assert late.about(started["id"]) == stored[10:]


def test_after_unsubscribing_only_state_changes_arrive(api: Api, held: tuple[dict[str, Any], Puppet]) -> None:
    started, puppet = held
    with api.live() as live:
        live.subscribe(started["id"])
        puppet.print("heard")
        live.wait_for(lambda received: received["type"] == "output")
        live.unsubscribe(started["id"])
        live.sign_in(api.token)  # its response follows the response to the previous message
        puppet.print("unheard")
        puppet.exit()
        live.wait_for_state(started["id"])
        texts = [line[2] for message in live.of_type("output") for line in message["lines"]]
    assert texts == ["heard"]
    assert api.lines(started["id"]) == ["heard", "unheard"]


def test_all_clients_get_the_same_messages_in_the_same_order(server: Server, api: Api) -> None:
    names = [server.add_service(shell(say("A", "running") + say("A") + say("B"))) for _ in range(3)]
    with api.live() as one, api.live() as other:
        started = [api.start(name)["id"] for name in names]
        for live in (one, other):
            for number in started:
                live.wait_for_state(number)
        for number in started:
            assert one.about(number) == other.about(number) == api.events(number)

"""Test clients and the fan-out of messages to them."""

from __future__ import annotations

from sys import getsizeof

import pytest

from deploy.adapters import websocket
from deploy.adapters.repository import StoredEvent
from deploy.adapters.websocket import Client, Hub
from deploy.domain.policy import Actor, TokenType

ADA = Actor(kind=TokenType.USER, expires=0, name="ada")


def state(seq: int) -> StoredEvent:
    return StoredEvent(seq, None, f"state {seq}")


def output(seq: int) -> StoredEvent:
    return StoredEvent(seq, seq * 10, f"output {seq}")


def a_client(**cursors: int) -> Client:
    """Return a client with these cursors, such as `d7=3` for deployment 7."""
    client = Client(ADA, "token")
    client.cursors.update({int(name[1:]): seq for name, seq in cursors.items()})
    return client


def received(client: Client) -> list[str]:
    """Return the contents of the outbox, and empty it."""
    messages = []
    while (message := client.take()) is not None:
        messages.append(message)
    return messages


def has_room(client: Client) -> bool:
    """Return `client.has_room` without type narrowing."""
    return client.has_room


class TestOutbox:
    def test_first_in_first_out(self) -> None:
        client = a_client()
        client.put("a")
        client.put("b")
        assert received(client) == ["a", "b"]
        assert client.take() is None

    def test_the_outbox_knows_whether_it_is_empty(self) -> None:
        client, other = a_client(), a_client()
        other.put("a")
        assert (client.is_empty, other.is_empty) == (True, False)

    def test_putting_wakes_the_sender(self) -> None:
        client = a_client()
        client.put("a")
        assert client.wake.is_set()

    def test_messages_in_the_outbox_are_limited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(websocket, "OUTBOX_MESSAGES", 2)
        client = a_client()
        client.put("a")
        assert has_room(client)
        client.put("b")
        assert not has_room(client)
        client.take()
        assert has_room(client)

    def test_bytes_in_the_outbox_are_limited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(websocket, "OUTBOX_BYTES", 2 * getsizeof("x" * 900))
        client = a_client()
        client.put("x" * 900)
        assert has_room(client)
        client.put("x" * 900)
        assert not has_room(client)
        client.take()
        assert has_room(client)

    def test_the_limit_counts_bytes_not_characters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(websocket, "OUTBOX_BYTES", 3000)
        client = a_client()
        client.put("\N{PARTY POPPER}" * 1000)
        assert not has_room(client)


class TestOffer:
    def test_a_subscriber_gets_everything(self) -> None:
        client = a_client(d7=0)
        client.subscribed.add(7)
        client.offer(7, [state(1), output(2), state(3)], complete=True)
        assert received(client) == ["state 1", "output 2", "state 3"]

    def test_other_clients_get_state_changes_only(self) -> None:
        client = a_client(d7=0)
        client.offer(7, [state(1), output(2), state(3), output(4)], complete=True)
        assert received(client) == ["state 1", "state 3"]
        client.offer(7, [state(5)], complete=True)
        assert received(client) == ["state 5"]

    def test_known_events_are_skipped(self) -> None:
        client = a_client(d7=2)
        client.offer(7, [state(1), state(2), state(3)], complete=True)
        client.offer(7, [state(2), state(3)], complete=True)
        assert received(client) == ["state 3"]

    def test_a_new_deployment_begins_with_the_first_offered_event(self) -> None:
        client = a_client()
        client.offer(7, [state(1)], complete=False)
        client.offer(8, [state(40)], complete=True)
        assert received(client) == ["state 1", "state 40"]

    def test_deployments_do_not_mix(self) -> None:
        client = a_client(d7=5, d8=0)
        client.offer(8, [state(1)], complete=True)
        client.offer(7, [state(6)], complete=True)
        assert received(client) == ["state 1", "state 6"]

    def test_a_gap_puts_a_subscriber_behind(self) -> None:
        client = a_client(d7=1)
        client.offer(7, [state(3)], complete=True)
        assert (client.behind, received(client)) == ({7}, [])
        assert client.wake.is_set()

    def test_gaps_do_not_matter_to_clients_without_output(self) -> None:
        client = a_client(d7=1)
        client.offer(7, [state(3)], complete=False)
        assert (client.behind, received(client)) == (set(), ["state 3"])

    def test_a_partial_offer_puts_a_subscriber_behind(self) -> None:
        client = a_client(d7=1)
        client.subscribed.add(7)
        client.offer(7, [state(2)], complete=False)
        assert (client.behind, received(client)) == ({7}, [])

    def test_a_client_that_is_behind_gets_no_events_but_a_wake_up(self) -> None:
        client = a_client(d7=1)
        client.behind.add(7)
        client.offer(7, [state(2)], complete=True)
        assert (client.missed, received(client)) == ({7}, [])

    def test_a_full_outbox_puts_a_client_behind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(websocket, "OUTBOX_MESSAGES", 2)
        client = a_client(d7=0)
        client.offer(7, [state(1), state(2), state(3)], complete=True)
        assert (client.behind, client.cursors[7]) == ({7}, 2)
        assert received(client) == ["state 1", "state 2"]

    def test_output_without_subscribers_does_not_take_up_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(websocket, "OUTBOX_MESSAGES", 2)
        client = a_client(d7=0)
        client.offer(7, [state(1), output(2), output(3), output(4), state(5)], complete=True)
        assert (client.behind, received(client)) == (set(), ["state 1", "state 5"])


class TestSubscribe:
    def test_a_subscriber_first_reads_earlier_events(self) -> None:
        client = a_client(d7=9)
        client.subscribe(7, 4)
        assert (client.subscribed, client.behind, client.cursors[7]) == ({7}, {7}, 4)
        assert client.wake.is_set()

    def test_events_published_before_that_wait(self) -> None:
        client = a_client(d7=9)
        client.subscribe(7, 4)
        client.offer(7, [output(10)], complete=True)
        assert received(client) == []
        client.deliver(7, [output(5), state(6)])
        assert received(client) == ["output 5", "state 6"]

    def test_no_output_is_sent_after_unsubscribing(self) -> None:
        client = a_client(d7=0)
        client.subscribe(7, 0)
        client.behind.clear()
        client.unsubscribe(7)
        client.unsubscribe(8)
        client.offer(7, [output(1), state(2)], complete=True)
        assert received(client) == ["state 2"]


class TestHub:
    def test_clients_join_and_leave(self) -> None:
        hub, client = Hub(), a_client()
        hub.add(client)
        hub.add(client)
        assert (len(hub), list(hub)) == (1, [client])
        hub.remove(client)
        hub.remove(client)
        assert len(hub) == 0

    def test_clients_only_get_what_they_can_read(self) -> None:
        hub = Hub()
        ada = a_client(d7=0)
        eve = Client(Actor(kind=TokenType.USER, expires=0, name="eve"), "token")
        hub.add(ada)
        hub.add(eve)
        hub.publish(7, [state(1)], complete=True, may_read=lambda actor: actor.name == "ada")
        assert (received(ada), received(eve)) == (["state 1"], [])
        assert eve.cursors == {}

    def test_a_stalled_client_does_not_affect_the_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(websocket, "OUTBOX_MESSAGES", 2)
        hub, stalled, reader = Hub(), a_client(d7=0), a_client(d7=0)
        hub.add(stalled)
        hub.add(reader)
        got = []
        for seq in range(1, 6):
            hub.publish(7, [state(seq)], complete=True, may_read=lambda _: True)
            got += received(reader)
        assert got == [f"state {seq}" for seq in range(1, 6)]
        assert stalled.behind == {7}

    def test_output_is_only_read_for_subscribers(self) -> None:
        hub, client = Hub(), a_client()
        hub.add(client)
        assert not hub.wants_output(7)
        client.subscribe(7, 0)
        assert hub.wants_output(7)
        assert not hub.wants_output(8)
        hub.remove(client)
        assert not hub.wants_output(7)

    def test_a_broadcast_reaches_clients_with_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(websocket, "OUTBOX_MESSAGES", 1)
        hub, full, free, eve = Hub(), a_client(), a_client(), Client(Actor(kind=TokenType.CONFIG, expires=0), "token")
        for client in (full, free, eve):
            hub.add(client)
        full.put("before")
        hub.broadcast("news", may_read=lambda actor: actor.kind is TokenType.USER)
        assert (received(full), received(free), received(eve)) == (["before"], ["news"], [])

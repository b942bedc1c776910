"""Test the buckets that count sign-in attempts, and the message for clients that have to wait."""

from __future__ import annotations

import pytest

from deploy.adapters.tokens import THREADS, WAITING, KeyedHash
from deploy.domain.attempts import PER_NETWORK, UNKNOWN_NETWORK, duration, network_of, unknown_client


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("2001:DB8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::1", "2001:db8:0:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("127.0.0.1", "127.0.0.1"),
        ("", UNKNOWN_NETWORK),
        ("unknown", UNKNOWN_NETWORK),
        ("_hidden-7", UNKNOWN_NETWORK),
        ("1.2.3.4.5", UNKNOWN_NETWORK),
        ("/run/socket", UNKNOWN_NETWORK),
    ],
)
def test_addresses_are_counted_by_network(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 second"), (2, "2 seconds"), (59, "59 seconds"), (60, "1 minute"), (61, "2 minutes"), (300, "5 minutes")],
)
def test_waiting_times_are_rounded_up(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_the_message_says_how_long_to_wait_and_what_else_to_do() -> None:
    account, network = unknown_client("ada", "192.0.2.1")
    for bucket in (account, network):
        assert bucket.refusal(61).endswith(
            "Try again in 2 minutes, or use a browser that has signed in as this user before."
        )


def test_one_network_can_queue_fewer_attempts_than_the_queue_holds() -> None:
    assert PER_NETWORK <= THREADS + WAITING


def test_bucket_keys_are_unambiguous() -> None:
    keyed = KeyedHash("k")
    parts = [("a", "b"), ("ab",), ("a,b",), ("b", "a"), ("a", "b", ""), ('a", "b',), ("\ud800",)]
    assert len({keyed.of(*some) for some in parts}) == len(parts)
    assert keyed.of("a") != KeyedHash("another").of("a")
    assert keyed.of("a") == KeyedHash("k").of("a")

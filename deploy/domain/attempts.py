"""Limit password attempts: define the buckets that an attempt counts in, and their sizes (decision 0013).

An attempt from a client that the account does not know counts for the account and for the client's network. A client
that has signed in to the account before counts in its own buckets, so that other people's guesses cannot lock it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, IPv6Network, ip_address

WINDOW = timedelta(minutes=5)
PER_ACCOUNT, PER_NETWORK = 10, 30
# How long a browser or network stays known after its last sign-in.
BROWSER_KNOWN_FOR, NETWORK_KNOWN_FOR = timedelta(days=180), timedelta(days=30)
# The network from which a single IPv6 subscriber can choose addresses.
IPV6_PREFIX = 64
UNKNOWN_NETWORK = "unknown"

_ELSEWHERE = "or use a browser that has signed in as this user before."


@dataclass(frozen=True, slots=True)
class Bucket:
    """A counter of attempts. `key` identifies it. When it is full, `advice` follows "Try again in 5 minutes"."""

    key: tuple[str, ...]
    limit: int
    message: str
    advice: str = ""

    def refusal(self, seconds: int) -> str:
        """Return the error message for a client that must wait `seconds`."""
        wait = f"Try again in {duration(seconds)}"
        return f"{self.message} {wait}, {self.advice}" if self.advice else f"{self.message} {wait}."


def unknown_client(name: str, network: str) -> tuple[Bucket, ...]:
    """Return the buckets of a client that has not signed in to this account before."""
    return (_account(("account", name)), _network(("network", network)))


def known_network(user_id: int, network: str) -> tuple[Bucket, ...]:
    """Return the buckets of a client whose network has signed in to this account before."""
    return (_account(("account", str(user_id), network)), _network(("known network", network)))


def known_browser(browser_id: str) -> tuple[Bucket, ...]:
    """Return the bucket of a browser that has signed in to this account before."""
    return (Bucket(("browser", browser_id), PER_ACCOUNT, "Too many wrong passwords."),)


def password_change(user_id: int, session: str) -> tuple[Bucket, ...]:
    """Return the bucket for signed-in users who enter their current password. `session` is empty for API clients."""
    return (Bucket(("password change", str(user_id), session), PER_ACCOUNT, "Too many wrong passwords."),)


def network_of(host: str) -> str:
    """Return the network that a client's address counts toward: the IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return UNKNOWN_NETWORK
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), IPV6_PREFIX), strict=False))


def duration(seconds: int) -> str:
    """Return a waiting time as text, rounded up to whole minutes if it is one minute or more."""
    number, unit = (seconds, "second") if seconds < 60 else (-(-seconds // 60), "minute")
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _account(key: tuple[str, ...]) -> Bucket:
    return Bucket(key, PER_ACCOUNT, "Too many failed attempts to sign in as this user.", _ELSEWHERE)


def _network(key: tuple[str, ...]) -> Bucket:
    return Bucket(key, PER_NETWORK, "Too many failed attempts to sign in from your network.", _ELSEWHERE)

"""Limit the connections that wait for their client.

A connection *waits* while it is the client's turn: to send a request, to sign in on a WebSocket, or to read data that
the server has sent. Every waiting connection has a deadline. The number of waiting connections is limited, both in
total and per client address. Above the limit, the connection that has waited longest is closed, so fast clients get
through even while other clients hold connections open. Connections that are waiting for the server do not count, and
neither do WebSockets that are signed in and reading.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Protocol

from deploy.config import Settings

log = logging.getLogger(__name__)

SWEEP_SECONDS = 0.5
LOG_SECONDS = 60.0
# A client that reads less than this many bytes within SEND_TIMEOUT_SECONDS is considered not to be reading.
MIN_PROGRESS = 64 * 1024
# File descriptors reserved for everything else: runs, the database, and imports.
RESERVED_DESCRIPTORS = 256


class Trusted(Protocol):
    """The trusted proxies, as parsed by uvicorn from FORWARDED_ALLOW_IPS."""

    def __contains__(self, host: str | None) -> bool: ...


class Guarded:
    """Base class of the HTTP and WebSocket protocols. `address` is None if only the total limit applies."""

    guard: ConnectionGuard
    transport: asyncio.Transport
    address: str | None = None
    _unsent = 0

    def expire(self) -> None:
        """Close the connection because its deadline has passed."""
        raise NotImplementedError

    def make_room(self) -> None:
        """Close the connection because too many are waiting and this one has waited longest."""
        raise NotImplementedError

    def wait_for_reader(self) -> None:
        """Start the deadline for a client that is not reading."""
        self._unsent = self.transport.get_write_buffer_size()
        self.guard.wait(self, self.guard.limits.send_seconds)

    def expire_reader(self) -> None:
        """Abort the connection unless its client has read more.

        Closing it properly would mean waiting for the client.
        """
        if self.transport.get_write_buffer_size() <= self._unsent - MIN_PROGRESS:
            self.wait_for_reader()
        else:
            self.transport.abort()


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """The limits of one web server process. `waiting` and `open` count connections; `messages` is per second."""

    head_seconds: float
    body_seconds: float
    sign_in_seconds: float
    send_seconds: float
    waiting: int
    waiting_per_address: int
    open: int
    messages: float

    @classmethod
    def of(cls, settings: Settings) -> ConnectionLimits:
        """Return the limits based on the settings and on the process's limit of open files."""
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(
            head_seconds=settings.request_head_timeout_seconds,
            body_seconds=settings.request_body_timeout_seconds,
            sign_in_seconds=settings.sign_in_timeout_seconds,
            send_seconds=settings.send_timeout_seconds,
            waiting=settings.max_waiting_connections,
            waiting_per_address=settings.max_waiting_connections_per_address,
            open=max(descriptors - RESERVED_DESCRIPTORS, descriptors // 2),
            messages=settings.websocket_messages_per_second,
        )


class ConnectionGuard:
    """All connections of one web server process."""

    def __init__(self, limits: ConnectionLimits, trusted: Trusted) -> None:
        self.limits = limits
        self._trusted = trusted
        self._open: set[Guarded] = set()
        # Both are ordered by waiting time, longest first.
        self._deadlines: dict[Guarded, float] = {}
        self._by_address: dict[str, dict[Guarded, None]] = {}
        self._crowded_out = 0
        self._logged = float("-inf")

    async def run(self) -> None:
        """Close connections whose deadline has passed, until canceled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._sweep(_now())

    def peer_address(self, host: str | None) -> str | None:
        """Return the key for counting a peer's connections, or None for a proxy, which has many clients."""
        return None if host in self._trusted else self.client_address(host)

    def client_address(self, host: str | None) -> str | None:
        """Return the key for counting a client's connections, or None if it has no address (a Unix socket)."""
        return None if host is None else address_key(host)

    def opened(self, connection: Guarded) -> None:
        """Add a connection. The total is limited, because runs and queries also need free file descriptors."""
        self._open.add(connection)
        if len(self._open) > self.limits.open:
            self._crowd_out(next(iter(self._deadlines), connection))

    def closed(self, connection: Guarded) -> None:
        """Remove a connection."""
        self._open.discard(connection)
        self.done(connection)

    def wait(self, connection: Guarded, seconds: float) -> None:
        """Record that it is the client's turn, for at most `seconds`."""
        self.done(connection)
        self._deadlines[connection] = _now() + seconds
        if connection.address is not None:
            same = self._by_address.setdefault(connection.address, {})
            same[connection] = None
            if len(same) > self.limits.waiting_per_address:
                self._crowd_out(next(iter(same)))
        if len(self._deadlines) > self.limits.waiting:
            self._crowd_out(next(iter(self._deadlines)))

    def done(self, connection: Guarded) -> None:
        """Record that the client has done its part."""
        if self._deadlines.pop(connection, None) is None or connection.address is None:
            return
        same = self._by_address[connection.address]
        del same[connection]
        if not same:
            del self._by_address[connection.address]

    def _crowd_out(self, connection: Guarded) -> None:
        self._crowded_out += 1
        self.done(connection)
        connection.make_room()

    def _sweep(self, now: float) -> None:
        for connection in [waiting for waiting, deadline in self._deadlines.items() if deadline <= now]:
            self.done(connection)
            connection.expire()
        for connection in self._open - self._deadlines.keys():
            # The server closed it, but the client has not read everything yet.
            if connection.transport.is_closing():
                connection.wait_for_reader()
        if self._crowded_out and now >= self._logged + LOG_SECONDS:
            log.warning("Closed %d connections to make room: too many were waiting for clients", self._crowded_out)
            self._crowded_out, self._logged = 0, now


def address_key(host: str) -> str:
    """Return the address, or the /64 network of an IPv6 address, which belongs to a single client."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else str(ip_network((address.packed, 64), strict=False))


def _now() -> float:
    return asyncio.get_running_loop().time()

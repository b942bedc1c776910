"""Run many clients of the live channel in a separate process: `python -m benchmarks.clients SPEC`.

They record messages with their arrival times and evaluate them at the end, so that they do not slow each other down.

SPEC is JSON: host, port, token, clients, stalled (additional clients that connect and then do not read anything),
deflate. The process prints `ready` when all clients are signed in. It then reads from standard input the ID of a
deployment, or `subscribe ID` to follow the deployment's output. It prints the result as JSON as soon as every client
has seen the end of the deployment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

from benchmarks.frames import PING, PONG, TEXT, Frames, frame, handshake, text_frame

TIMEOUT = 120.0
AT_ONCE = 20
DEPLOYMENT = re.compile(rb'"type": ?"deployment"')
FINAL = re.compile(rb'"state": ?"(success|failure|cancelled)"')


@dataclass(frozen=True)
class Seen:
    """The messages about a deployment that the clients received.

    `same` is True if every client got every event that the first one got, once, in order, and without gaps. Times are
    in monotonic nanoseconds, latencies in ms.
    """

    deliveries: int
    events: int
    same: bool
    first: int
    last: int
    latencies: list[float] = field(default_factory=list)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, spec: dict[str, Any], *, stalled: bool = False) -> None:
        self._spec, self._stalled = spec, stalled
        self._opened = False
        self._frames = Frames()
        self.signed_in, self.finished = asyncio.Event(), asyncio.Event()
        self.messages: list[tuple[int, bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the WebSocket."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(handshake(self._spec["host"], self._spec["port"], deflate=self._spec["deflate"]))

    def data_received(self, data: bytes) -> None:
        """Record the data that arrives."""
        at = time.monotonic_ns()
        if not self._opened:
            _, _, data = data.partition(b"\r\n\r\n")
            self._opened = True
            self.send({"access_token": self._spec["token"]})
        for kind, payload in self._frames.feed(data):
            if kind == PING:
                self.transport.write(frame(payload, PONG))
            elif kind == TEXT:
                self._keep(at, payload)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message."""
        self.transport.write(text_frame(message))

    def _keep(self, at: int, payload: bytes) -> None:
        if not self.signed_in.is_set():
            if b'"authentication"' in payload:
                self.signed_in.set()
                if self._stalled:
                    self.transport.pause_reading()
            return
        self.messages.append((at, payload))
        if DEPLOYMENT.search(payload) and FINAL.search(payload):
            self.finished.set()


async def connected(spec: dict[str, Any], *, stalled: bool = False) -> Client:
    """Return a client that has signed in."""
    client = Client(spec, stalled=stalled)
    await asyncio.get_running_loop().create_connection(lambda: client, spec["host"], spec["port"])
    await asyncio.wait_for(client.signed_in.wait(), TIMEOUT)
    return client


async def watch(spec: dict[str, Any]) -> dict[str, Any]:
    """Connect, watch, and return what the clients saw."""
    clients: list[Client] = []
    while len(clients) < spec["clients"]:
        some = min(AT_ONCE, spec["clients"] - len(clients))
        clients += await asyncio.gather(*(connected(spec) for _ in range(some)))
    stalled = [await connected(spec, stalled=True) for _ in range(spec["stalled"])]
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    *subscribe, deployment_id = (await loop.run_in_executor(None, sys.stdin.readline)).split()
    if subscribe:
        for client in [*clients, *stalled]:
            client.send({"subscribe": {"deployment_id": int(deployment_id), "after": 0}})
        print("subscribed", flush=True)
    await asyncio.wait_for(asyncio.gather(*(client.finished.wait() for client in clients)), TIMEOUT)
    return summary(clients, int(deployment_id))


def summary(clients: list[Client], deployment_id: int) -> dict[str, Any]:
    """Evaluate the recorded messages."""
    each = [of_deployment(client, deployment_id) for client in clients]
    numbers = [[message["seq"] for _, message in seen] for seen in each]
    times = [at for seen in each for at, _ in seen]
    return {
        "deliveries": len(times),
        "events": len(numbers[0]),
        "same": all(found == list(range(1, numbers[0][-1] + 1)) for found in numbers),
        "first": min(times),
        "last": max(times),
        "latencies": [late for seen in each for late in latencies(seen)],
    }


def of_deployment(client: Client, deployment_id: int) -> list[tuple[int, dict[str, Any]]]:
    """Return the numbered messages of one deployment with their times.

    After a subscription, start from the beginning.
    """
    seen = [(at, json.loads(payload)) for at, payload in client.messages]
    numbered = [(at, m) for at, m in seen if m.get("deployment_id") == deployment_id and "seq" in m]
    begins = [place for place, (_, message) in enumerate(numbered) if message["seq"] == 1]
    return numbered[begins[-1] if begins else 0 :]


def latencies(seen: list[tuple[int, dict[str, Any]]]) -> Iterator[float]:
    """Yield the age (ms) on arrival of each line that contains the time at which it was printed."""
    for at, message in seen:
        lines = message["lines"] if message["type"] == "output" else ()
        yield from ((at - int(text[3:])) / 1e6 for _, _, text, _ in lines if text.startswith("at "))


class Crowd:
    """The process that runs the clients. The measuring process controls it."""

    def __init__(self, port: int, token: str, *, clients: int, stalled: int = 0, deflate: bool = False) -> None:
        spec = {"host": "127.0.0.1", "port": port, "token": token}
        spec_json = json.dumps({**spec, "clients": clients, "stalled": stalled, "deflate": deflate})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.clients", spec_json],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._expect("ready")

    def watch(self, deployment_id: int, *, output: bool) -> None:
        """Select the deployment to watch."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{'subscribe ' if output else ''}{deployment_id}\n")
        self._process.stdin.flush()
        if output:
            self._expect("subscribed")

    def result(self) -> Seen:
        """Wait for the end and return the result."""
        assert self._process.stdout is not None
        text = self._process.stdout.read()
        if self._process.wait(TIMEOUT):
            raise RuntimeError("The clients did not see the end of the deployment.")
        return Seen(**json.loads(text))

    def close(self) -> None:
        """Stop the process."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != word:
            raise RuntimeError("The clients could not connect.")


if __name__ == "__main__":
    seen = json.dumps(uvloop.run(watch(json.loads(sys.argv[1]))))
    # Do not use print(): if unbuffered (PYTHONUNBUFFERED), it loses data that a pipe does not accept immediately.
    with open(1, "wb", closefd=False) as output:
        output.write(seen.encode())

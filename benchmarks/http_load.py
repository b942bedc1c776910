"""Send GET requests under load from a separate process with little overhead: `python -m benchmarks.http_load SPEC`.

SPEC is JSON: host, port, path, token, clients, seconds. The process prints JSON: requests, seconds, latencies in ms,
body (sha256 of the canonical JSON).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, cast

import uvloop

from benchmarks.machine import percentile

WARM_UP = 0.3


@dataclass(frozen=True)
class Load:
    """The result: `rate` in requests per second, `requests` including the warm-up, and latencies in ms."""

    rate: float
    requests: int
    p50: float
    p99: float
    body: str


class Connection(asyncio.Protocol):
    """Sends the next request as soon as a response is complete. Only supports responses with a Content-Length."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._head, self._missing, self._began = b"", 0, 0.0
        self.times: list[tuple[float, float]] = []
        self.body = b""
        self.error = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Count complete responses."""
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self.error = self._head[:500].decode(errors="replace")
                self._transport.abort()
                return
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._missing, self._head = int(length) - len(body), b""
        if not self._missing:
            now = time.perf_counter()
            self.times.append((now, now - self._began))
            self._ask()

    def _ask(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._request)


def canonical(body: bytes) -> bytes:
    """Return a JSON document without insignificant whitespace and order of keys, which differ between servers."""
    return json.dumps(json.loads(body), sort_keys=True).encode()


async def whole_body(spec: dict[str, Any], request: bytes) -> bytes:
    """Return the body of one response."""
    reader, writer = await asyncio.open_connection(spec["host"], spec["port"])
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
    writer.close()
    return body


async def load(spec: dict[str, Any]) -> dict[str, Any]:
    """Send the load and measure it."""
    lines = [f"GET {spec['path']} HTTP/1.1", "Host: bench", f"Authorization: Bearer {spec['token']}"]
    request = "\r\n".join([*lines, "", ""]).encode()
    body = await whole_body(spec, request)
    loop = asyncio.get_running_loop()
    connections = [Connection(request) for _ in range(spec["clients"])]
    pairs = [
        await loop.create_connection(lambda c=connection: c, spec["host"], spec["port"])  # type: ignore[misc]
        for connection in connections
    ]
    await asyncio.sleep(WARM_UP)
    began = time.perf_counter()
    await asyncio.sleep(spec["seconds"])
    seconds = time.perf_counter() - began
    for transport, _ in pairs:
        transport.abort()
    errors = [connection.error for connection in connections if connection.error]
    latencies = [1000 * took for c in connections for at, took in c.times if began < at <= began + seconds]
    return {
        "error": errors[0] if errors else "",
        "requests": sum(len(connection.times) for connection in connections),
        "rate": len(latencies) / seconds,
        "p50": percentile(latencies, 50) if latencies else 0,
        "p99": percentile(latencies, 99) if latencies else 0,
        "body": hashlib.sha256(canonical(body)).hexdigest(),
    }


def measure(port: int, path: str, *, token: str = "-", clients: int = 16, seconds: float = 1.5) -> Load:
    """Measure from a separate process."""
    spec = {"host": "127.0.0.1", "port": port, "path": path, "token": token, "clients": clients, "seconds": seconds}
    command = [sys.executable, "-m", "benchmarks.http_load", json.dumps(spec)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    if found.pop("error"):
        raise RuntimeError(f"{path} did not respond with 200")
    return Load(**found)


if __name__ == "__main__":
    print(json.dumps(uvloop.run(load(json.loads(sys.argv[1])))))

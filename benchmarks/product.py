"""Run the product under test: `fastdeploy serve` as a separate process.

It uses its bundled PostgreSQL and default settings.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.frames import LiveSocket
from deploy.adapters.postgres import running_url

HOST = "127.0.0.1"
USER, PASSWORD = "admin", "a password for benchmarks"
TIMEOUT = 120.0
FINAL = ("success", "failure", "cancelled")


def free_port() -> int:
    """Return an unused port."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


class Product:
    """A running server. `data_dir` is kept after it stops."""

    def __init__(self, data_dir: Path, services_dir: Path, **settings: str) -> None:
        self.data_dir, self.services_dir = data_dir, services_dir
        self.port = free_port()
        self._log = (data_dir.parent / f"{data_dir.name}.log").open("ab")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            # Run the product next to these benchmarks, even if another copy is installed.
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "INITIAL_USER_PASSWORD": PASSWORD,
            "XDG_STATE_HOME": str(data_dir.parent / "state"),
            **settings,
        }
        self._began = time.monotonic()
        self.process = self._start()
        self.started_in = self._wait_until_ready()
        self.token = self._sign_in()

    @property
    def pid(self) -> int:
        """Return the process ID of the server, which also runs the worker."""
        return self.process.pid

    @property
    def database_url(self) -> str:
        """Return the URL of the bundled database, for asyncpg."""
        url = running_url(self.data_dir)
        assert url is not None
        return url.replace("postgresql+asyncpg:", "postgresql:")

    def stop(self) -> None:
        """Stop it the way an operator does."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str = "") -> Any:
        """Send a request and return the JSON of its response."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=TIMEOUT)
        try:
            headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:500]!r}")
        return json.loads(content)

    def service_ids(self) -> dict[str, int]:
        """Return the ID of each service by its name."""
        return {service["name"]: service["id"] for service in self.call("GET", "/services/")}

    def service_token(self, service: str) -> str:
        """Return a token that can start a service."""
        wanted = {"service": service, "origin": "benchmark", "expiration_in_days": 1}
        return str(self.call("POST", "/service-token", wanted)["service_token"])

    def deploy(self, service_id: int, **env: Any) -> int:
        """Start a deployment and return its ID."""
        return int(self.call("POST", f"/services/{service_id}/deployments", {"env": env})["id"])

    def wait_for(self, deployment_id: int, *, success: bool = True) -> dict[str, Any]:
        """Return a deployment once it is final."""
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            found: dict[str, Any] = self.call("GET", f"/deployments/{deployment_id}")
            if found["state"] in FINAL:
                if success and found["state"] != "success":
                    raise RuntimeError(f"Deployment {deployment_id}: {found['state']}, {found['reason']}")
                return found
            time.sleep(0.05)
        raise TimeoutError(f"Deployment {deployment_id} did not end in time.")

    @contextlib.contextmanager
    def live(self) -> Iterator[LiveSocket]:
        """Connect a client to the live channel."""
        client = LiveSocket(HOST, self.port, self.token)
        try:
            yield client
        finally:
            client.close()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "deploy", "serve", "--host", HOST, "--port", str(self.port)]
        command += ["--data-dir", str(self.data_dir), "--services-dir", str(self.services_dir)]
        output = self._log
        return subprocess.Popen(command, env=self._environment, stdout=output, stderr=output, cwd=self.data_dir.parent)

    def _wait_until_ready(self) -> float:
        """Wait for the first 200 from /health/ready. Return the seconds since the start."""
        while time.monotonic() - self._began < TIMEOUT:
            if self.process.poll() is not None:
                raise RuntimeError(f"The server exited; see {self._log.name}")
            if self._is_ready():
                return time.monotonic() - self._began
            time.sleep(0.005)
        raise TimeoutError("The server did not become ready in time.")

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _sign_in(self) -> str:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=TIMEOUT)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/token", urlencode({"username": USER, "password": PASSWORD}), form)
        token: str = json.loads(connection.getresponse().read())["access_token"]
        connection.close()
        return token

"""Run the configurations of “Run behind a reverse proxy” in real proxies, and use fastDeploy through them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import shell
from tests.e2e.server import PASSWORD, USER, Server, free_port, temporary_folder
from tests.e2e.test_process import listens
from tests.e2e.waiting import TIMEOUT, wait_until
from tests.how_tos import block

PAGE, NAME = "reverse-proxy", "deploy.example.com"
SBIN = f"{os.environ['PATH']}:/usr/sbin"

# What nginx needs around the page's configuration when it does not run as a system service.
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {config}
}}
"""


def replaced(text: str, old: str, new: str) -> str:
    """Return the text with the only occurrence of `old` replaced."""
    assert text.count(old) == 1, f"{old!r} in {text}"
    return text.replace(old, new)


def nginx(folder: Path, server: Server, port: int) -> list[str]:
    """Write the page's configuration for nginx. Return the command."""
    config = replaced(block(PAGE, "nginx"), "listen 443 ssl;", f"listen 127.0.0.1:{port};")
    config = replaced(config, "http://127.0.0.1:8000", server.base_url)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, config=config))
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, server: Server, port: int) -> list[str]:
    """Write the page's configuration for Caddy. Return the command."""
    config = replaced(block(PAGE, "caddy"), NAME, f"http://127.0.0.1:{port}")
    config = replaced(config, "127.0.0.1:8000", f"127.0.0.1:{server.port}")
    (folder / "Caddyfile").write_text("{\n    admin off\n}\n" + config)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a proxy until the block ends."""
    program = shutil.which(command[0], path=SBIN)
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    with (folder / "log").open("wb") as log:
        home = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        process = subprocess.Popen([program, *command[1:]], env=home, stdout=log, stderr=log)
    try:
        wait_until(lambda: listens(port) or process.poll() is not None, "the proxy to listen")
        assert process.poll() is None, (folder / "log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(TIMEOUT)


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "Caddy"])
def proxied(request: pytest.FixtureRequest, server: Server) -> Iterator[Api]:
    """Yield the API of the shared server behind a proxy."""
    make: Callable[[Path, Server, int], list[str]] = request.param
    port = free_port()
    with temporary_folder() as folder, running(make(folder, server, port), folder, port):
        api = Api(f"http://127.0.0.1:{port}", USER, PASSWORD)
        yield api
        api.close()


def test_the_page_and_the_check_of_the_how_to_work(proxied: Api) -> None:
    assert proxied.anonymous.get("/health/ready").status_code == 200
    assert "<html" in proxied.anonymous.get("/ui/").text


def test_absolute_urls_and_redirects_keep_the_port(server: Server, proxied: Api) -> None:
    done = proxied.run(server.add_service(shell("true")))
    token = proxied.service_token(server.add_service(shell("true")))
    started = answer(proxied.client(token).post("/deployments/"))
    assert started["details"].startswith(f"{proxied.base_url}/")
    assert answer(proxied.client(token).get(started["details"]))["id"] == started["id"] > done["id"]
    for path in ("/", "/ui"):
        response = proxied.anonymous.get(path, follow_redirects=False)
        if response.is_redirect:
            assert str(response.next_request.url if response.next_request else "").startswith(f"{proxied.base_url}/")


def test_events_arrive_over_the_websocket_while_a_deployment_runs(server: Server, proxied: Api) -> None:
    with server.puppet() as (name, puppet), proxied.live() as live:
        started = proxied.start(name)
        puppet.config()
        puppet.print('{"name": "Through the proxy", "state": "running"}')
        seen = live.wait_for(lambda message: message.get("name") == "Through the proxy")
        assert seen["deployment_id"] == started["id"]
        puppet.exit()
        proxied.wait_until_final(started["id"])


def test_a_browser_session_can_be_renewed(proxied: Api) -> None:
    with httpx2.Client(base_url=proxied.base_url, trust_env=False) as browser:
        opened = browser.post("/session", json={"username": USER, "password": PASSWORD})
        assert opened.status_code == 200
        renewed = browser.post("/session/refresh", headers={"X-Requested-With": "fastdeploy"})
        assert renewed.status_code == 200

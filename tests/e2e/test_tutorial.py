"""Follow the tutorial: write its service with its commands, and deploy it while the server restarts."""

from __future__ import annotations

import subprocess

from tests.e2e.conftest import NewServer
from tests.e2e.waiting import wait_until
from tests.how_tos import block, blocks

PAGE = "../tutorial/first-deployment"


def test_the_service_of_the_tutorial_survives_a_restart(new_server: NewServer) -> None:
    server = new_server()
    server.start()
    make_folder, script, finish = blocks(PAGE, "sh", below="## Write a service")
    folder = server.services_dir / "hello"
    subprocess.run(["sh", "-euc", make_folder], cwd=server.folder, check=True)
    (folder / "config.json").write_text(block(PAGE, "json"))
    (folder / "deploy.sh").write_text(script)
    subprocess.run(["sh", "-euc", finish], cwd=server.folder, check=True)
    assert server.api.sync()["problems"] == []
    assert server.api.service("hello")["data"]["description"] == "Says hello, and counts"

    started = server.api.start("hello")
    wait_until(lambda: "1" in server.api.lines(started["id"]), "it to count")
    server.stop()
    server.start()
    done = server.api.wait_until_final(started["id"])
    assert done["state"] == "success"
    assert [(step["name"], step["state"], step["message"]) for step in done["steps"]] == [
        ("Say hello", "success", "Said hello"),
        ("Count", "success", ""),
    ]
    greeting, *counted = server.api.lines(done["id"])
    assert greeting.startswith("Hello from ")
    assert counted == ["1", "2", "3", "4", "5"]

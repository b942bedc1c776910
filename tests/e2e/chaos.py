"""Kill processes at random while deployments run, then compare what was stored with what was printed.

`python -m tests.e2e.chaos --kills 200 --seed 7` (or `just chaos …`) runs the given number of kills; test_chaos.py runs
a short seed. The web server, the worker, and PostgreSQL are separate processes here, so that each can die alone.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2

from deploy.adapters.postgres import PostgresServer
from tests.data_folders import copy_data_folder
from tests.e2e.api import FINAL, Api
from tests.e2e.folders import python, write_service
from tests.e2e.forked_commands import Command, start_command
from tests.e2e.server import PASSWORD, USER, clean_environment, free_port, temporary_folder
from tests.e2e.waiting import wait_until

SERVICES = 3
SLOTS = 6
# Prints at a varying pace and records what it printed, which is the expected output.
SCRIPT = """
import json, os, random, sys, time
config = json.load(open(os.environ["DEPLOY_CONFIG_FILE"]))
env = config["context"]["env"]
dice = random.Random(env["seed"])
record = open(os.path.join(env["records"], str(config["deployment_id"])), "w")

def say(line):
    record.write(line + "\\n")
    record.flush()
    os.write(1, (line + "\\n").encode())

record.write(json.dumps({"began": time.time()}) + "\\n")
for step in range(env["steps"]):
    say(json.dumps({"name": f"step {step}", "state": "running"}))
    for line in range(dice.randrange(1, env["lines"])):
        say(f"line {line} of step {step} " + "x" * dice.randrange(60))
        if dice.random() < 0.3:
            time.sleep(dice.random() * 0.05)
    say(json.dumps({"name": f"step {step}", "state": "success", "message": f"number {step}"}))
record.write(json.dumps({"ended": time.time(), "code": env["code"]}) + "\\n")
record.close()
sys.exit(env["code"])
"""


@dataclass
class Record:
    """A script's record of its own run. Times are in seconds since the epoch."""

    began: float
    ended: float
    code: int
    lines: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)


class Site:
    """PostgreSQL, a web server, and a worker, each in its own process, all on one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.api = Api(f"http://127.0.0.1:{self.port}", USER, PASSWORD)
        copy_data_folder(folder / "postgres")
        self.postgres = PostgresServer(folder / "postgres")
        self.postgres.start()
        self.environment = clean_environment(
            DATABASE_URL=self.postgres.url,
            SECRET_KEY="0123456789abcdef" * 4,
            DATA_DIR=str(folder / "data"),
            SERVICES_ROOT=str(folder / "services"),
            API_URL=self.api.base_url,
            WORKER_SLOTS=str(SLOTS),
            INITIAL_USER_NAME=USER,
            INITIAL_USER_PASSWORD=PASSWORD,
            XDG_STATE_HOME=str(folder / "state"),
        )
        self.processes: dict[str, Command] = {}

    def start(self, part: str) -> None:
        """Start a part that is not running."""
        if part == "database":
            self.postgres.start()
            return
        options = ["serve", "--no-worker", "--port", str(self.port)] if part == "server" else ["worker"]
        with (self.folder / f"{part}.log").open("ab") as log, open(os.devnull) as nothing:
            streams = (nothing.fileno(), log.fileno(), log.fileno())
            self.processes[part] = start_command(
                options, folder=self.folder, environment=self.environment, streams=streams
            )

    def kill(self, part: str) -> None:
        """Kill a part without giving it a chance to clean up."""
        if part == "database":
            subprocess.run(["kill", "-KILL", str(self.postgres.pid)], check=True)
            wait_until(lambda: self.postgres.poll() is not None, "PostgreSQL to exit")
            return
        process = self.processes.pop(part)
        process.kill()
        process.wait()

    def is_ready(self) -> bool:
        """Return True if the web server serves requests. Fail if a part has exited unexpectedly."""
        for part, process in self.processes.items():
            assert process.poll() is None, f"the {part} exited unexpectedly:\n{self.log(part)}"
        try:
            return self.api.anonymous.get("/health/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def log(self, part: str) -> str:
        """Return the end of a part's log."""
        return (self.folder / f"{part}.log").read_text(errors="replace")[-5000:]

    def stop(self) -> None:
        """Stop everything."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(30)
        self.postgres.stop()
        self.api.close()


class Chaos:
    """A number of kills chosen by a seed, and the checks that follow."""

    def __init__(self, site: Site, *, seed: int, kills: int) -> None:
        self.site = site
        self.dice = random.Random(seed)  # noqa: S311 - it decides when to kill, nothing else
        self.kills = kills
        self.records = site.folder / "records"
        self.records.mkdir()
        self.started: dict[int, str] = {}
        self.requested = 0

    def run(self) -> None:
        """Kill and start parts while starting deployments. Then wait for all of them and check them."""
        for number in range(SERVICES):
            write_service(self.site.folder / "services", f"service-{number}", script=python(SCRIPT), config={})
        for part in ("server", "worker"):
            self.site.start(part)
        wait_until(self.site.is_ready, "the site to be ready")
        for kill in range(self.kills):
            self.start_deployment()
            time.sleep(self.dice.random() * 0.5)  # kill at a random moment
            self.kill_some(kill)
        wait_until(self.all_final, "every deployment to end", timeout=300)
        for deployment_id in self.started:
            self.check(deployment_id)
        self.check_order()

    def kill_some(self, number: int) -> None:
        """Kill one part, or all of them, and start them again in any order."""
        parts = self.dice.choice([["server"], ["worker"], ["database"], ["server", "worker", "database"]])
        for part in parts:
            self.site.kill(part)
        time.sleep(self.dice.random() * 0.3)
        for part in self.dice.sample(parts, len(parts)):
            self.site.start(part)
        wait_until(self.site.is_ready, f"the site to be ready after kill {number} ({', '.join(parts)})")

    def start_deployment(self) -> None:
        """Start a deployment like a careful client does: send the same key until there is a response."""
        self.requested += 1
        service = f"service-{self.dice.randrange(SERVICES)}"
        env = {
            "seed": self.dice.randrange(1 << 30),
            "records": str(self.records),
            "steps": self.dice.randrange(1, 6),
            "lines": self.dice.choice([5, 40, 400]),
            "code": self.dice.choice([0, 0, 0, 3]),
        }
        service_id = self.site.api.service(service)["id"]
        key = f"request-{self.requested}"

        def try_start() -> dict[str, Any] | None:
            answer = self.site.api.admin.post(
                f"/services/{service_id}/deployments", json={"env": env}, headers={"Idempotency-Key": key}
            )
            assert answer.status_code in {200, 503}, answer.text
            return dict(answer.json()) if answer.status_code == 200 else None

        found = wait_until(try_start, "a deployment to be accepted")
        assert found is not None
        self.started[found["id"]] = service

    def all_final(self) -> bool:
        """Return True if no deployment is queued or running."""
        self.site.is_ready()
        found = self.site.api.admin.get("/deployments/", params={"limit": 1000}).json()
        return {deployment["id"] for deployment in found if deployment["state"] in FINAL} == self.started.keys()

    def check(self, deployment_id: int) -> None:
        """Compare what was stored for a deployment with its record."""
        record_of = self.record_of(deployment_id)
        found = self.site.api.deployment(deployment_id)
        expected = "failure" if record_of.code else "success"
        assert (found["state"], found["exit_code"]) == (expected, record_of.code), found
        assert self.site.api.lines(deployment_id) == record_of.lines, (
            f"the log of {deployment_id} differs from what was printed"
        )
        done = [step["name"] for step in found["steps"] if step["state"] == "success"]
        assert done == record_of.steps, (done, record_of.steps)
        assert not [step for step in found["steps"] if step["state"] in {"pending", "running"}]
        events = self.site.api.events(deployment_id)
        assert [event["seq"] for event in events] == list(range(1, found["seq"] + 1))
        numbers = [line[0] for event in events if event["type"] == "output" for line in event["lines"]]
        assert numbers == list(range(1, len(record_of.lines) + 1))

    def check_order(self) -> None:
        """Check that each service ran one deployment at a time, in the order of the requests."""
        for service in set(self.started.values()):
            ids = sorted(number for number, of in self.started.items() if of == service)
            recorded = [self.record_of(deployment_id) for deployment_id in ids]
            for before, after in pairwise(recorded):
                assert before.ended <= after.began, f"two runs of {service} overlap, or ran out of order"

    def record_of(self, deployment_id: int) -> Record:
        """Return the record of a deployment."""
        first, *said, last = (self.records / str(deployment_id)).read_text().splitlines()
        end = json.loads(last)
        record_of = Record(began=json.loads(first)["began"], ended=end["ended"], code=end["code"])
        for line in said:
            if not line.startswith("{"):
                record_of.lines.append(line)
            elif (report := json.loads(line))["state"] == "success":
                record_of.steps.append(report["name"])
        return record_of


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.kills} kills", flush=True)  # noqa: T201
    with temporary_folder() as folder:
        site = Site(folder)
        try:
            chaos = Chaos(site, seed=given.seed, kills=given.kills)
            chaos.run()
        finally:
            site.stop()
    print(f"{len(chaos.started)} deployments: right outcome, every line once and in order")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())

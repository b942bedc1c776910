"""Services whose runs record when they begin and end. In between, the runs wait until a test releases them."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.folders import shell
from tests.e2e.server import Server
from tests.e2e.waiting import wait_until

# Each event is one write, appended to one file for all runs of a service, so the lines are in the order of the events.
RECORDING = """
read -r config < "$DEPLOY_CONFIG_FILE"
id=${config#*'"deployment_id": '}
id=${id%%%%,*}
echo "begin $id" >> record
%s
echo "end $id" >> record
"""


def recording(body: str = ":") -> str:
    """Return a shell script that records when `body` begins and ends."""
    return shell(RECORDING % body)


def read_record(folder: Path) -> list[tuple[str, int]]:
    """Return the events that the runs of a service recorded, in order: (`begin` or `end`, deployment ID)."""
    path = folder / "record"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(what, int(deployment_id)) for what, _, deployment_id in (line.partition(" ") for line in lines)]


class Gate:
    """A service whose runs wait at a gate."""

    def __init__(self, service: str, folder: Path) -> None:
        self.service = service
        self._folder = folder

    def release(self, *ids: int) -> None:
        """Release these deployments, either now or when they arrive."""
        for deployment_id in ids:
            (self._folder / f"go-{deployment_id}").touch()

    def record(self) -> list[tuple[str, int]]:
        """Return the events that the runs recorded."""
        return read_record(self._folder)

    def begun(self) -> list[int]:
        """Return the deployments that have begun, in order."""
        return [deployment_id for what, deployment_id in self.record() if what == "begin"]

    def wait_until_begun(self, *ids: int) -> None:
        """Wait until these deployments have begun."""
        wait_until(lambda: set(ids) <= set(self.begun()), f"the runs {ids} to begin")

    def max_parallel(self) -> int:
        """Return the largest number of runs at the same time."""
        running: Counter[str] = Counter()
        most = 0
        for what, _ in self.record():
            running[what] += 1
            most = max(most, running["begin"] - running["end"])
        return most


def gate(server: Server, config: Mapping[str, Any] | None = None) -> Gate:
    """Add a service whose runs wait at a gate."""
    # If the test fails, its folder is removed, and nothing else would release the runs.
    name = server.add_service(
        recording('while [ -e deploy.sh ] && [ ! -e "go-$id" ]; do sleep 0.02; done'), config=config
    )
    return Gate(name, server.services_dir / name)

"""Measure playbooks on many hosts: against a run by hand, and what a result costs on few and on many hosts."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench import Bench, is_end
from benchmarks.cases.playbooks import compare_with_a_run_by_hand
from benchmarks.folders import debug_playbook, playbook_service
from benchmarks.frames import LiveSocket
from benchmarks.machine import cpu_seconds
from benchmarks.table import Row, attempt

GOAL, GROWTH_GOAL = 1.10, 1.3
# Tasks and hosts of the comparison with a run by hand, and of the comparison of few and many hosts.
TASKS, HOSTS = 20, 200
GROWTH_TASKS, FEW, MANY = 2, 100, 1000
FORKS = "[defaults]\nforks = 50\n"


def measure_hosts(bench: Bench) -> list[Row]:
    """Measure debug tasks on hosts that are all this machine, because then Ansible itself does the least."""
    tasks, hosts = (2, 20) if bench.quick else (TASKS, HOSTS)
    few, many = (10, 50) if bench.quick else (FEW, MANY)
    for name, task_count, host_count in (
        ("many-hosts", tasks, hosts),
        ("hosts-few", GROWTH_TASKS, few),
        ("hosts-many", GROWTH_TASKS, many),
    ):
        _service(bench, name, task_count, host_count)
    bench.product.call("POST", "/services/sync")
    what = f"playbook with {tasks} debug tasks on {hosts} hosts, forks 50: POST → end seen"
    return [
        # A round takes minutes, which is long enough for a stable ratio.
        *attempt(what, lambda: [compare_with_a_run_by_hand(bench.product, "many-hosts", what, GOAL, rounds=1)]),
        *attempt(f"cost of a result on {many} and {few} hosts", lambda: _growth(bench, few, many)),
    ]


def _service(bench: Bench, name: str, tasks: int, hosts: int) -> None:
    services_dir = bench.product.services_dir
    playbook_service(services_dir, name, debug_playbook(tasks, hosts="all"))
    lines = [f"web{number:04d} ansible_connection=local" for number in range(1, hosts + 1)]
    (services_dir / name / "inventory").write_text("\n".join(lines) + "\n")
    (services_dir / name / "ansible.cfg").write_text(FORKS)


def _growth(bench: Bench, few: int, many: int) -> list[Row]:
    """Compare the cost per result: processor time of the server and worker, and bytes to clients."""
    small, large = (_cost(bench, name, hosts) for name, hosts in (("hosts-few", few), ("hosts-many", many)))
    rows = []
    for what, unit in (
        ("processor time of server and worker", "ms"),
        ("bytes to a client that follows", "B"),
        ("bytes to any other client", "B"),
    ):
        ratio = large[what] / small[what]
        rows.append(
            Row(
                what=f"{what}, per host result on {many} hosts",
                measured=f"{large[what]:.2f} {unit}",
                baseline=f"{small[what]:.2f} {unit} on {few} hosts",
                ratio=f"{ratio:.2f}",
                goal=f"≤ {GROWTH_GOAL:.1f}",
                good=ratio <= GROWTH_GOAL,
            )
        )
    return rows


def _cost(bench: Bench, service: str, hosts: int) -> dict[str, float]:
    product, results = bench.product, hosts * GROWTH_TASKS
    service_id = product.service_ids()[service]
    with product.live() as follower, product.live() as other:
        before = cpu_seconds(product.pid)
        deployment_id = product.deploy(service_id)
        follower.send({"subscribe": {"deployment_id": deployment_id, "after": 0}})
        # Read both at the same time: the server disconnects clients that do not answer its pings.
        with ThreadPoolExecutor(2) as pool:
            received = list(pool.map(lambda client: _bytes_until_end(client, deployment_id), (follower, other)))
        seconds = cpu_seconds(product.pid) - before
    product.wait_for(deployment_id)
    return {
        "processor time of server and worker": seconds * 1000 / results,
        "bytes to a client that follows": received[0] / results,
        "bytes to any other client": received[1] / results,
    }


def _bytes_until_end(client: LiveSocket, deployment_id: int) -> int:
    size = 0
    while True:
        message = client.receive()
        if message["type"] in ("step", "host", "output", "deployment"):
            size += len(json.dumps(message, ensure_ascii=False).encode())
        if is_end(message, deployment_id):
            return size

"""Workers start and stop, and they share the queue."""

from contextlib import ExitStack

from tests.e2e.gates import gate
from tests.e2e.processes import Site
from tests.e2e.waiting import wait_until


def test_two_workers_share_the_queue_and_nothing_runs_twice(site: Site) -> None:
    api = site.api
    gates = [gate(site.server) for _ in range(4)]
    with ExitStack() as stack:
        workers = [stack.enter_context(site.worker(name, "--slots", "2")) for name in ("north", "south")]
        started = {one.service: [int(api.start(one.service)["id"]) for _ in range(3)] for one in gates}
        firsts = [ids[0] for ids in started.values()]
        for one in gates:
            one.wait_until_begun(started[one.service][0])
        # All four are running, and no worker takes more than two, so each has taken two.
        running = {worker.id: site.workers()[worker.id]["running"] for worker in workers}
        assert [len(ids) for ids in running.values()] == [2, 2]
        assert sorted(one for ids in running.values() for one in ids) == sorted(firsts)
        for one in gates:
            one.release(*started[one.service])
        for one in gates:
            for deployment_id in started[one.service]:
                assert api.wait_until_final(deployment_id)["state"] == "success"
            assert one.record() == [(what, run) for run in started[one.service] for what in ("begin", "end")]


def test_a_stopped_worker_leaves_its_runs_to_the_next_one(site: Site) -> None:
    api, other = site.api, gate(site.server)
    with site.server.puppet() as (name, puppet), site.worker() as worker:
        running = int(api.start(name)["id"])
        puppet.print("before")
        wait_until(lambda: api.lines(running) == ["before"], "the first line")
        assert worker.stop() == 0
        later = int(api.start(other.service)["id"])
        other.release(later)
        puppet.print("nobody", "listens")
        puppet.exit(0)
        assert api.deployment(running)["state"] == "running"
        assert api.deployment(later)["state"] == "queued"
        worker.start()
        found = api.wait_until_final(running)
        assert (found["state"], api.lines(running)) == ("success", ["before", "nobody", "listens"])
        assert api.wait_until_final(later)["state"] == "success"
        assert other.record() == [("begin", later), ("end", later)]


def test_two_workers_on_one_data_folder_follow_each_run_once(site: Site) -> None:
    api = site.api
    with site.server.puppet() as (name, puppet), site.worker() as first, site.worker():
        running = int(api.start(name)["id"])
        puppet.print("one")
        wait_until(lambda: api.lines(running) == ["one"], "the first line")
        first.kill()
        puppet.print("two")
        puppet.exit()
        assert api.wait_until_final(running)["state"] == "success"
        assert api.lines(running) == ["one", "two"]


def test_a_deployment_waiting_for_a_free_worker_gives_that_reason(site: Site) -> None:
    api, busy, other = site.api, gate(site.server), gate(site.server)
    with site.worker("", "--slots", "1"):
        first = int(api.start(busy.service)["id"])
        busy.wait_until_begun(first)
        second = int(api.start(other.service)["id"])
        assert api.deployment(second)["waiting"] == {
            "position": 1,
            "blocked_by": None,
            "reason": "All workers are busy. It starts as soon as one is free.",
        }
        assert other.begun() == []
        busy.release(first)
        other.release(second)
        assert api.wait_until_final(second)["state"] == "success"

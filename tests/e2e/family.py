"""A script that starts processes which are hard to kill."""

from tests.e2e.api import Api
from tests.e2e.processes import Process, living
from tests.e2e.waiting import wait_until

# Each process prints its role and then waits forever.
FAMILY = """
import os, signal

def born(kind):
    os.write(1, f"{kind} {os.getpid()}\\n".encode())
    while True:
        signal.pause()

def stubborn():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    born("stubborn")

def daemon():
    os.setsid()
    if not os.fork():
        os.closerange(3, 100)
        born("daemon")
    os._exit(0)

def grandparent():
    if not os.fork():
        os.setsid()
        stubborn_in_its_own_session()
    born("parent")

def stubborn_in_its_own_session():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    born("grandchild")

os.write(1, b'{"name": "First", "state": "running"}\\n')
for member in (stubborn, daemon, grandparent):
    if not os.fork():
        member()
born("script")
"""
FAMILY_MEMBERS = {"script", "stubborn", "daemon", "parent", "grandchild"}


def family(api: Api, deployment_id: int) -> dict[str, Process]:
    """Return the processes of a FAMILY by their roles once all of them are alive."""
    wait_until(lambda: len(api.lines(deployment_id)) == len(FAMILY_MEMBERS), "the family to be complete")
    members = dict(line.split() for line in api.lines(deployment_id))
    assert members.keys() == FAMILY_MEMBERS
    return {kind: living(int(pid)) for kind, pid in members.items()}

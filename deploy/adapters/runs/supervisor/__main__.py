"""Entry point of the supervisor."""

from __future__ import annotations

import os

from .control import Control, Signals
from .plain_json import to_json
from .processes import kill, kill_tree
from .records import Spool
from .run import Supervisor
from .system import PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, prctl, signal


def report_failure(spool: Spool, error: Exception, pid: int) -> None:
    """Kill the script `pid` and its process tree after an internal error. Record the error."""
    try:
        if pid:
            kill(-pid, signal.SIGKILL)
        kill_tree()
    finally:
        if not spool.complete:
            cause = None if pid else "not_started"
            message = ("The run's supervisor failed and stopped the run: {}.", f"{type(error).__name__}: {error}")
            spool.append("exit", to_json({"code": None, "signal": None, "cause": cause, "message": message}))


def main() -> int:
    """Supervise the run that descriptors 0, 1, and 2 belong to."""
    spool = Spool(1, 2)
    supervisor = None
    try:
        os.closerange(3, 256)
        os.chdir("/")
        # The script can run as the same user, but it must not read this process's memory, which contains the run's
        # secrets.
        prctl(PR_SET_DUMPABLE, 0)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        supervisor = Supervisor(spool, Control(0), Signals())
        supervisor.run()
    except Exception as error:  # noqa: BLE001 - no other process could report it
        report_failure(spool, error, supervisor.pid if supervisor else 0)
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main())  # skip interpreter cleanup so that the spool's lock is released sooner

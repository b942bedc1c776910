"""Keep hold of a script's processes, so that none of them outlives its supervisor unnoticed.

The keeper is the process between the supervisor and the script. Both are subreapers. If the supervisor dies, the
kernel notifies the keeper, which kills everything below it. If the keeper dies, the supervisor inherits its children
and does the same. Until the keeper is done, it holds the lock on the spool, so the run counts as alive.
"""

from __future__ import annotations

import os
import time

from .processes import descendants, kill_tree
from .system import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, prctl, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

KILL_TIMEOUT = 5.0  # seconds to wait for processes that SIGKILL does not end
KILL_INTERVAL = 0.02
PARENT_DIED = signal.SIGUSR2


def keep(supervisor: int, report: int, start: Callable[[], int]) -> NoReturn:
    """Turn this process into the keeper of the script that `start` forks.

    Report the wait status of the script, when it has exited, to the descriptor `report`.
    """
    try:
        watch(supervisor)
        script = start()
        os.dup2(report, 0)
        os.closerange(2, 256)  # 1 is the spool, with its lock
        os.write(0, b"%d" % wait(script))
    finally:
        os._exit(0)


def watch(supervisor: int) -> None:
    """Ignore all signals that can be ignored, and end everything when the supervisor dies."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(PARENT_DIED, lambda _number, _frame: end_if_orphaned(supervisor))
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, PARENT_DIED)
    end_if_orphaned(supervisor)  # it could have died before


def wait(script: int) -> int:
    """Return the wait status of the script when it has exited. Reap its orphans until then."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == script:
            return status


def end_if_orphaned(supervisor: int) -> None:
    """Kill all processes below this one, and exit, if the supervisor is gone."""
    if os.getppid() == supervisor:
        return
    give_up = time.monotonic() + KILL_TIMEOUT
    try:
        while descendants(os.getpid()) and time.monotonic() < give_up:
            kill_tree()
            time.sleep(KILL_INTERVAL)
    finally:
        os._exit(1)

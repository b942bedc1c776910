"""Wait for conditions instead of fixed times."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# Seconds. Much longer than any condition takes; a test that runs into it has failed.
TIMEOUT = 60.0
# Seconds between checks: short at first, since most conditions come true soon; then longer, to spare the server under test.
POLL_INTERVAL = 0.01
SLOW_POLL_INTERVAL = 0.05
SLOW_AFTER = 0.5


def wait_until(condition: Callable[[], Result], what: str = "the condition", timeout: float = TIMEOUT) -> Result:
    """Return the first truthy value of `condition`. Fail after `timeout` seconds; `what` completes "waiting for …"."""
    began = time.monotonic()
    deadline = began + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, (
            f"timed out after {timeout:.0f} s waiting for {what}; last value: {value!r}"
        )
        time.sleep(POLL_INTERVAL if time.monotonic() < began + SLOW_AFTER else SLOW_POLL_INTERVAL)

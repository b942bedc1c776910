"""Wait for conditions instead of fixed times."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# Seconds. Much longer than any condition takes. A test that reaches this timeout has failed.
TIMEOUT = 60.0
# Seconds between checks. Most conditions come true soon. To spare the server under test, the interval grows to a tenth
# of the time that has passed, within these bounds.
MIN_POLL_INTERVAL, MAX_POLL_INTERVAL = 0.01, 0.2


def wait_until(condition: Callable[[], Result], what: str = "the condition", timeout: float = TIMEOUT) -> Result:
    """Return the first truthy value of `condition`. Fail after `timeout` seconds. `what` completes "waiting for …"."""
    began = time.monotonic()
    deadline = began + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, (
            f"timed out after {timeout:.0f} s waiting for {what}; last value: {value!r}"
        )
        time.sleep(min(max((time.monotonic() - began) / 10, MIN_POLL_INTERVAL), MAX_POLL_INTERVAL))

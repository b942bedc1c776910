"""Wait for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# Seconds; much longer than anything takes. A test that meets it has failed.
PATIENCE = 60.0
# Most conditions come true soon. The longer one takes, the more seldom it is checked, because each check takes processor
# time from what the test waits for: after a tenth of the time that has passed, within these bounds in seconds.
SHORTEST, LONGEST = 0.01, 0.2


def wait_until(condition: Callable[[], Result], what: str = "the condition", patience: float = PATIENCE) -> Result:
    """Return the first truthy value of `condition`, however long the machine takes."""
    began = time.monotonic()
    deadline = began + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} has not come true within {patience:.0f} s; last: {value!r}"
        time.sleep(min(max((time.monotonic() - began) / 10, SHORTEST), LONGEST))

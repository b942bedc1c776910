"""Wait for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# Seconds; much longer than anything takes. A test that meets it has failed.
PATIENCE = 60.0
# Seconds: most conditions come true soon, and asking a server takes time from what is waited for.
LOOK_EVERY = 0.01
LOOK_EVERY_LATER = 0.05
LATER = 0.5


def wait_until(condition: Callable[[], Result], what: str = "the condition", patience: float = PATIENCE) -> Result:
    """Return the first truthy value of `condition`, however long the machine takes."""
    began = time.monotonic()
    deadline = began + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} has not come true within {patience:.0f} s; last: {value!r}"
        time.sleep(LOOK_EVERY if time.monotonic() < began + LATER else LOOK_EVERY_LATER)

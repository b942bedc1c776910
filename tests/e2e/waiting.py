"""Wait for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# Seconds; much longer than anything takes. A test that meets it has failed.
PATIENCE = 60.0
LOOK_EVERY = 0.01


def wait_until(condition: Callable[[], Result], what: str = "the condition", patience: float = PATIENCE) -> Result:
    """Return the first truthy value of `condition`, however long the machine takes."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} has not come true within {patience:.0f} s; last: {value!r}"
        time.sleep(LOOK_EVERY)

#!/usr/bin/env python3
"""Print `count` lines, one every `every` seconds, each with the current time of the monotonic clock."""

import os
import time

from common import settings  # type: ignore[import-not-found]  # next to this script

env = settings()
for _ in range(env["count"]):
    time.sleep(env["every"])
    os.write(1, f"at {time.monotonic_ns()}\n".encode())

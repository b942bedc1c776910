#!/usr/bin/env python3
"""Prints `count` lines, one each `every` seconds: the time of that moment, by the clock that all processes share."""

import os
import time

from common import settings  # type: ignore[import-not-found]  # it lies beside this script

env = settings()
for _ in range(env["count"]):
    time.sleep(env["every"])
    os.write(1, f"at {time.monotonic_ns()}\n".encode())

#!/usr/bin/env python3
"""Writes down what it was given: the tests look at the log."""

import json
import sys
from pathlib import Path

config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
print(json.dumps({"name": "Read the values", "state": "success"}), flush=True)
for name, value in sorted(config["context"]["env"].items()):
    print(f"{name} = {json.dumps(value)}", flush=True)
print(json.dumps({"name": "Write them down", "state": "success"}), flush=True)

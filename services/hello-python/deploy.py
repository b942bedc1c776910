#!/usr/bin/env python3
"""A deploy script in Python that only needs the standard library.

fastDeploy runs it as `deploy.py --config FILE`. JSON lines with a `name` and a `state` become steps; all other lines
go to the log.
"""

import argparse
import json
import time
from pathlib import Path

BOXES = 10


def report(name: str, state: str, message: str = "") -> None:
    # Without `flush`, Python would buffer the line until the script ends.
    print(json.dumps({"name": name, "state": state, "message": message}), flush=True)


def read_configuration(file: Path) -> dict:
    report("Read the configuration", "running")
    config = json.loads(file.read_text(encoding="utf-8"))
    # The file also contains a token, so never print all of it.
    report("Read the configuration", "success", f"This is deployment {config['deployment_id']}")
    return config


def pack_boxes() -> list[str]:
    boxes = []
    for number in range(1, BOXES + 1):
        report("Pack the boxes", "running", f"{number} of {BOXES}")
        boxes.append(f"box {number}")
        time.sleep(0.1)
    report("Pack the boxes", "success", f"{BOXES} boxes are packed")
    return boxes


def count(boxes: list[str]) -> None:
    report("Count them again", "running")
    if len(boxes) != BOXES:
        report("Count them again", "failure", f"{len(boxes)} boxes instead of {BOXES}")
        raise SystemExit(1)
    print("No box is missing.", flush=True)
    report("Count them again", "success", f"{len(boxes)} boxes, as expected")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    read_configuration(parser.parse_args().config)
    count(pack_boxes())


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A deploy script whose inputs are declared in config.json, so its values are valid and complete."""

import argparse
import json
import sys
from pathlib import Path

GREETINGS = {"en": "Good news", "de": "Gute Nachricht", "fr": "Bonne nouvelle"}


def report(name: str, state: str, message: str = "") -> None:
    print(json.dumps({"name": name, "state": state, "message": message}), flush=True)


def announcement(values: dict, language: str) -> str:
    lines = [f"{GREETINGS[language]}: {values['topic']}"]
    if "day" in values:
        lines.append(f"On {values['day']}")
    if "approved_by" in values:
        lines.append(f"Approved by {values['approved_by']}")
    text = "\n".join([*lines, *values.get("note", "").splitlines()])
    return text.upper() if values["loud"] else text


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    config = json.loads(parser.parse_args().config.read_text(encoding="utf-8"))
    values = config["context"]["env"]
    report("Read the values", "running")
    report("Read the values", "success", f"For: {values['audience']}")
    if "password" in values:
        # A script should not do this. If it does, the platform stores and shows *** instead.
        print(f"The password is {values['password']}", flush=True)
        report("Use the password", "success", f"{len(values['password'])} characters: {values['password']}")
    else:
        report("Use the password", "success", "No password was given")
    for number in range(1, values["copies"] + 1):
        report("Write the announcement", "running", f"{number} of {values['copies']}")
        for language in values["languages"]:
            print(announcement(values, language), flush=True)
    report("Write the announcement", "success", f"{values['copies']} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""A deploy script whose inputs are described in config.json: when it runs, its answers are checked and complete."""

import argparse
import json
import sys
from pathlib import Path

GREETINGS = {"en": "Good news", "de": "Gute Nachricht", "fr": "Bonne nouvelle"}


def report(name: str, state: str, message: str = "") -> None:
    print(json.dumps({"name": name, "state": state, "message": message}), flush=True)


def announcement(answers: dict, language: str) -> str:
    lines = [f"{GREETINGS[language]}: {answers['topic']}"]
    if "day" in answers:
        lines.append(f"On {answers['day']}")
    if "approved_by" in answers:
        lines.append(f"Approved by {answers['approved_by']}")
    text = "\n".join([*lines, *answers.get("note", "").splitlines()])
    return text.upper() if answers["loud"] else text


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    config = json.loads(parser.parse_args().config.read_text(encoding="utf-8"))
    answers = config["context"]["env"]
    report("Read the answers", "running")
    report("Read the answers", "success", f"For: {answers['audience']}")
    if "password" in answers:
        # A script should not do this. Should it happen, the platform stores and shows *** in its place.
        print(f"The password is {answers['password']}", flush=True)
        report("Use the password", "success", f"It has {len(answers['password'])} characters: {answers['password']}")
    else:
        report("Use the password", "success", "There was none")
    for number in range(1, answers["copies"] + 1):
        report("Write the announcement", "running", f"{number} of {answers['copies']}")
        for language in answers["languages"]:
            print(announcement(answers, language), flush=True)
    report("Write the announcement", "success", f"{answers['copies']} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""A deploy script that uses answers: `context.env` in the file given with `--config`.

Answers come from people and from other programs. Check them before you use them, and never print the ones that you do
not know: one of them may be a password.
"""

import argparse
import json
import sys
from pathlib import Path

GREETINGS = {"en": "Dear", "de": "Hallo", "fr": "Bonjour"}
DEFAULTS = {"recipient": "world", "language": "en", "copies": 1}


class WrongAnswer(Exception):
    """An answer cannot be used; the text says why, to the person who gave it."""


def report(name: str, state: str, message: str = "") -> None:
    print(json.dumps({"name": name, "state": state, "message": message}), flush=True)


def checked(env: dict) -> dict:
    answers = {**DEFAULTS, **{name: env[name] for name in DEFAULTS if name in env}}
    if not isinstance(answers["recipient"], str) or not 1 <= len(answers["recipient"]) <= 60:
        raise WrongAnswer("recipient has to be a name of at most 60 letters.")
    if answers["language"] not in GREETINGS:
        raise WrongAnswer(f"language has to be one of {', '.join(GREETINGS)}.")
    # A form and an URL can only send text, so the number may come as text.
    if str(answers["copies"]) not in ("1", "2", "3"):
        raise WrongAnswer("copies has to be 1, 2 or 3.")
    return answers


def write_letter(answers: dict) -> None:
    copies = int(answers["copies"])
    for number in range(1, copies + 1):
        report("Write the letter", "running", f"{number} of {copies}")
        print(f"{GREETINGS[answers['language']]} {answers['recipient']}!", flush=True)
    report("Write the letter", "success", f"{copies} written, to {answers['recipient']}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    config = json.loads(parser.parse_args().config.read_text(encoding="utf-8"))
    env = config.get("context", {}).get("env", {})
    report("Check the answers", "running")
    unknown = sorted(set(env) - set(DEFAULTS))
    if unknown:
        print(f"Not used: {', '.join(unknown)}", flush=True)  # their names, not their values
    try:
        answers = checked(env)
    except WrongAnswer as error:
        report("Check the answers", "failure", f"{error} Nothing has been written.")
        return 1
    report("Check the answers", "success", "All answers can be used")
    write_letter(answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())

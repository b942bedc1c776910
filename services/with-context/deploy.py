#!/usr/bin/env python3
"""A deploy script that uses the deployment's values: `context.env` in the file given with `--config`.

Values come from people and other programs. Check them before you use them, and never print values that you do not
expect: one of them could be a password.
"""

import argparse
import json
import sys
from pathlib import Path

GREETINGS = {"en": "Dear", "de": "Hallo", "fr": "Bonjour"}
DEFAULTS = {"recipient": "world", "language": "en", "copies": 1}


class InvalidValue(Exception):
    """A value is invalid. The message is shown to the user."""


def report(name: str, state: str, message: str = "") -> None:
    print(json.dumps({"name": name, "state": state, "message": message}), flush=True)


def validate(env: dict) -> dict:
    values = {**DEFAULTS, **{name: env[name] for name in DEFAULTS if name in env}}
    if not isinstance(values["recipient"], str) or not 1 <= len(values["recipient"]) <= 60:
        raise InvalidValue("recipient must be a name of at most 60 letters.")
    if values["language"] not in GREETINGS:
        raise InvalidValue(f"language must be one of {', '.join(GREETINGS)}.")
    # Forms and URLs can only send text, so the number can be a string.
    if str(values["copies"]) not in ("1", "2", "3"):
        raise InvalidValue("copies must be 1, 2 or 3.")
    return values


def write_letter(values: dict) -> None:
    copies = int(values["copies"])
    for number in range(1, copies + 1):
        report("Write the letter", "running", f"{number} of {copies}")
        print(f"{GREETINGS[values['language']]} {values['recipient']}!", flush=True)
    report("Write the letter", "success", f"{copies} written, to {values['recipient']}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    config = json.loads(parser.parse_args().config.read_text(encoding="utf-8"))
    env = config.get("context", {}).get("env", {})
    report("Check the values", "running")
    unknown = sorted(set(env) - set(DEFAULTS))
    if unknown:
        print(f"Unknown values: {', '.join(unknown)}", flush=True)  # only their names
    try:
        values = validate(env)
    except InvalidValue as error:
        report("Check the values", "failure", f"{error} Nothing has been written.")
        return 1
    report("Check the values", "success", "All values are valid")
    write_letter(values)
    return 0


if __name__ == "__main__":
    sys.exit(main())

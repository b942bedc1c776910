#!/usr/bin/env python3
"""Print `count` lines of about 80 characters as fast as possible."""

import hashlib


def text(number: int) -> str:
    """Return line `number`. All lines are different."""
    return f"{number:08d} {hashlib.blake2b(number.to_bytes(8, 'big'), digest_size=35).hexdigest()}"


if __name__ == "__main__":
    from common import print_all, settings  # type: ignore[import-not-found]  # next to this script

    env = settings()
    print_all("".join(f"{text(number)}\n" for number in range(1, env["count"] + 1)), env["times"])

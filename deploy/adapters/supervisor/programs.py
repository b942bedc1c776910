"""Finding a program, and what the system would object to in it."""

from __future__ import annotations

import os

from .spec import NotStarted


def user_name() -> str:
    import pwd

    try:
        return f"the user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"the user with the id {os.geteuid()}"


def find_program(name: str, path: str) -> str:
    """The file that `name` means: looked up in `path`, as a shell does, unless it has a slash."""
    if "/" in name:
        return name
    for folder in path.split(":"):
        candidate = os.path.join(folder or ".", name)
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise NotStarted(f"There is no program {name} in PATH ({path}): install it, or add its folder to PATH_FOR_DEPLOY.")


def check_program(path: str) -> None:
    """Find out what the system would object to, while that can still be told from a script that failed."""
    try:
        os.stat(path)
    except FileNotFoundError:
        raise NotStarted(f"There is no file {path}: create it, or name another one in the service's config.") from None
    except OSError as error:
        raise NotStarted(
            f"{path} cannot be reached by {user_name()}: {error.strerror}. Every folder above it needs to be accessible."
        ) from error
    if os.path.isdir(path):
        raise NotStarted(f"{path} is a folder, not a script: name a file in the service's config.")
    if not os.access(path, os.X_OK):
        raise NotStarted(f"{path} is not executable for {user_name()}: run `chmod +x {path}`.")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError:
        return  # programs may be executable without being readable
    check_head(path, head)


def check_head(path: str, head: bytes) -> None:
    if not head.startswith(b"#!"):
        if b"\0" not in head:
            raise NotStarted(f"{path} does not say what runs it: its first line must be `#!/bin/sh`, or the like.")
        return
    line = head[2:].partition(b"\n")[0]
    words = line.split()
    interpreter = os.fsdecode(words[0]) if words else ""
    if line.endswith(b"\r"):
        raise NotStarted(f"The lines of {path} end as on Windows (CRLF): save it with Unix line ends.")
    if not os.path.exists(interpreter):
        raise NotStarted(
            f"{path} asks for {interpreter or 'nothing'} in its first line, which is not there: "
            "install it, or correct the line."
        )
    if not os.access(interpreter, os.X_OK):
        raise NotStarted(f"{path} asks for {interpreter} in its first line, which is not executable.")

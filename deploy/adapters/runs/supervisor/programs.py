"""Find a program and check that the system can run it."""

from __future__ import annotations

import os

from .spec import NotStarted

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def user_name() -> str:
    import pwd

    try:
        return f"the user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"the user with ID {os.geteuid()}"


def find_program(name: str, path: str) -> str:
    """Return the file of the program `name`. Search `path` as a shell does, unless the name has a slash."""
    if "/" in name:
        return name
    for folder in path.split(":"):
        candidate = os.path.join(folder or ".", name)
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise NotStarted(
        f"The program {name} was not found in PATH ({path}). Install it, or add its folder to PATH_FOR_DEPLOY."
    )


def check_program(path: str) -> None:
    """Raise NotStarted if the system cannot run the file. Otherwise, it would look as if the script itself failed."""
    try:
        os.stat(path)
    except FileNotFoundError:
        raise NotStarted(
            f"The file {path} does not exist. Create it, or set another one in the service's config."
        ) from None
    except OSError as error:
        raise NotStarted(
            f"{path} is not accessible to {user_name()}: {error.strerror}. Make every folder above it accessible."
        ) from error
    if os.path.isdir(path):
        raise NotStarted(f"{path} is a folder, not a script. Set a file in the service's config.")
    if not os.access(path, os.X_OK):
        raise NotStarted(f"{path} is not executable for {user_name()}. Run `chmod +x {path}`.")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError:
        return  # programs can be executable without being readable
    check_head(path, head)


def check_head(path: str, head: bytes) -> None:
    if head.startswith(BYTE_ORDER_MARK + b"#!"):
        raise NotStarted(f"{path} begins with a byte order mark (BOM). Save it as UTF-8 without a BOM.")
    if not head.startswith(b"#!"):
        if b"\0" not in head:
            raise NotStarted(f"{path} has no interpreter line. Start it with a line such as `#!/bin/sh`.")
        return
    line = head[2:].partition(b"\n")[0]
    words = line.split()
    interpreter = os.fsdecode(words[0]) if words else ""
    if line.endswith(b"\r"):
        raise NotStarted(f"{path} has Windows line endings (CRLF). Save it with Unix line endings (LF).")
    if not os.path.exists(interpreter):
        raise NotStarted(
            f"The interpreter {interpreter or '(none)'} in the first line of {path} does not exist. "
            "Install it, or correct the line."
        )
    if not os.access(interpreter, os.X_OK):
        raise NotStarted(f"The interpreter {interpreter} in the first line of {path} is not executable.")

"""Signals and prctl through the C modules behind `signal` and `ctypes`, which would double the startup time."""

from __future__ import annotations

import _ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

__all__ = [
    "PR_SET_CHILD_SUBREAPER",
    "PR_SET_DUMPABLE",
    "PR_SET_PDEATHSIG",
    "prctl",
    "signal",
    "signal_name",
]

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36


def signal_name(number: int) -> str:
    aliases = {"SIGCLD", "SIGIOT", "SIGPOLL", "SIGRTMIN", "SIGRTMAX"}
    for name in dir(signal):
        if name.startswith("SIG") and name[3] != "_" and name not in aliases and getattr(signal, name) == number:
            return name
    return f"SIG{number}"


def prctl(option: int, value: int) -> None:
    """Set a property of this process. Raise OSError if the kernel does not support it."""
    function = _ctypes.dlsym(_ctypes.dlopen(None, os.RTLD_NOW), "prctl")  # type: ignore[arg-type]
    if _ctypes.call_function(function, (option, value, 0, 0, 0)):
        raise OSError(f"prctl({option}) is not available")

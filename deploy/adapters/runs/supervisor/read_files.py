"""Read files of service folders for the server, with the rights of the deploy user.

This is a separate program, like the supervisor. Descriptor 0 is a stream socket. Each request is a JSON list on one
line, and each answer is a JSON object on one line. The program exits when the other end of the socket is closed.

| request                               | answer                                                       |
|---------------------------------------|--------------------------------------------------------------|
| ``["limits", root, outer, private]``  | ``{}``; must be the first request, see file_access.py        |
| ``["begin"]``                         | ``{}``; before each folder: admit only the root again        |
| ``["names"]``                         | ``{"kind", "names": [[name, kind], …]}``                     |
| ``["look", path]``                    | ``{"kind", "path"}``                                         |
| ``["entries", path]``                 | ``{"kind", "names": [[name, kind], …]}``                     |
| ``["exists", path]``                  | ``{"exists"}``                                               |
| ``["beside", path, admit]``           | ``{"kind", "path"}``                                         |
| ``["read", path, limit]``             | ``{"kind", "size", "data"}``, `data` in base64               |
| ``["verify", [[request, digest], …]]``| ``{"same"}``: true if every answer still has that SHA-256     |
"""

from __future__ import annotations

import binascii
import json
import os
from hashlib import sha256

from .file_access import Access
from .system import PR_SET_DUMPABLE, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REQUEST_LIMIT = 16 << 20


class Reader:
    """Answers requests. `limits` must be the first request."""

    def __init__(self) -> None:
        self._access: Access | None = None

    def answer(self, request: list[Any]) -> bytes:
        """Return the answer to a request as one line."""
        return json.dumps(self._answer(request[0], request[1:]), separators=(",", ":")).encode("ascii") + b"\n"

    def _answer(self, verb: str, arguments: list[Any]) -> dict[str, Any]:
        if verb == "limits":
            self._access = Access(*arguments)
            return {}
        assert self._access is not None
        if verb == "begin":
            self._access.forget()
            return {}
        if verb == "verify":
            return {
                "same": all(sha256(self.answer(request)).hexdigest() == digest for request, digest in arguments[0])
            }
        return self._file(self._access, verb, arguments)

    @staticmethod
    def _file(access: Access, verb: str, arguments: list[Any]) -> dict[str, Any]:
        if verb in {"names", "entries"}:
            kind, names = access.names() if verb == "names" else access.entries(*arguments)
            return {"kind": kind, "names": names}
        if verb == "exists":
            return {"exists": access.exists(*arguments)}
        if verb == "read":
            kind, size, data = access.read(*arguments)
            return {"kind": kind, "size": size, "data": binascii.b2a_base64(data, newline=False).decode("ascii")}
        if verb == "beside":
            kind, path = access.look_beside(arguments[0], admit=arguments[1])
        else:
            kind, path = access.look(*arguments)
        return {"kind": kind, "path": path}


def main() -> int:
    """Answer requests until the socket is closed."""
    os.closerange(3, 256)
    os.chdir("/")
    prctl(PR_SET_DUMPABLE, 0)
    reader = Reader()
    with open(0, "rb", closefd=False) as requests, open(os.dup(0), "wb") as answers:
        while line := requests.readline(REQUEST_LIMIT):
            answers.write(reader.answer(json.loads(line)))
            answers.flush()
    return 0

"""Store logins to servers in a file in the config folder that only the user can read.

For each server, the file contains the session cookie, which can only be exchanged for short-lived tokens until the
session ends. Passwords are never stored.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.entrypoints.cli.client.errors import ClientError


@dataclass(frozen=True, slots=True)
class Login:
    """A login of a user to a server. `session` is secret."""

    url: str
    user: str
    session: str


class Logins:
    """The logins in a file. The most recent login is the current one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def current(self) -> Login | None:
        """Return the login that commands use by default."""
        stored = self._read()
        return _login(stored, stored.get("current"))

    def at(self, url: str) -> Login | None:
        """Return the login to this server."""
        return _login(self._read(), url)

    def keep(self, login: Login) -> None:
        """Store a login and make it the current one.

        Raises:
            ClientError: The file cannot be written to.
        """
        stored = self._read()
        stored["servers"] = {**_servers(stored), login.url: {"user": login.user, "session": login.session}}
        self._write({**stored, "current": login.url})

    def remove(self, url: str) -> None:
        """Delete the login to this server.

        Raises:
            ClientError: The file cannot be written to.
        """
        stored = self._read()
        servers = {known: entry for known, entry in _servers(stored).items() if known != url}
        current = stored.get("current")
        self._write({"current": next(iter(servers), None) if current == url else current, "servers": servers})

    def _read(self) -> dict[str, Any]:
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}  # treat an invalid file as missing; the user has to sign in again
        except OSError as error:
            raise ClientError(f"{self.path} cannot be read ({error.strerror}).") from error
        return stored if isinstance(stored, dict) else {}

    def _write(self, stored: dict[str, Any]) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")  # mode 0600
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(stored, file, indent=2)
                os.replace(name, self.path)
            except BaseException:
                os.unlink(name)
                raise
        except OSError as error:
            raise ClientError(
                f"The login could not be stored: {self.path}: {error.strerror}. "
                "Make that folder writable, or choose another one with XDG_CONFIG_HOME."
            ) from error


def default_path() -> Path:
    """Return the path of the file for the current system user."""
    import platformdirs

    return platformdirs.user_config_path("fastdeploy", appauthor=False) / "logins.json"


def _servers(stored: dict[str, Any]) -> dict[str, Any]:
    servers = stored.get("servers")
    return servers if isinstance(servers, dict) else {}


def _login(stored: dict[str, Any], url: object) -> Login | None:
    entry = _servers(stored).get(str(url))
    if not isinstance(entry, dict) or not entry.get("session"):
        return None
    return Login(str(url), str(entry.get("user", "")), str(entry["session"]))

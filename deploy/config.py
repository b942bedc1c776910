"""Settings: from the environment, then from `.env`, then the defaults here. No secret has a default."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import stat
import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from deploy.domain.model import MAX_TIMEOUT

ENV_FILE = ".env"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOG_LEVELS = ("debug", "info", "warning", "error")
# Other names that Python's logging knows; earlier versions took them.
OTHER_LEVELS = {"warn": "warning", "critical": "error"}
# Shorter keys are refused. Installations with keys below GOOD_KEY_LENGTH keep starting, with a warning.
MIN_KEY_LENGTH, MIN_KEY_VARIETY, GOOD_KEY_LENGTH = 8, 4, 32
MAKE_KEY = "openssl rand -hex 32"
LIST_OF_TEXTS = 'a JSON list of texts, such as ["https://status.example.com"]'


class ConfigurationError(Exception):
    """The settings do not allow to start; the text says which one, and what to do."""


class Settings(BaseSettings):
    """What an operator can set. docs/reference/configuration describes each."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE, env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True
    )

    database_url: str = Field(default="", description="PostgreSQL to use; empty: the bundled server.")
    secret_key: SecretStr | None = Field(default=None, description="Signs every token.")
    data_dir: Path = Field(default=Path("data"), description="Folder of the bundled database, secrets and runs.")
    services_root: Path = Field(default=Path("services"), description="Folder that holds the service folders.")
    path_for_deploy: str = Field(
        default=f"{Path(sys.executable).parent}:{SYSTEM_PATH}", description="PATH of deploy scripts."
    )
    sudo_user: str = Field(default="", description="The deploy user; empty: the server's own.")
    api_url: str = Field(default="", description="How runs reach the server; empty: the address it listens on.")
    access_token_expire_minutes: float = Field(
        default=30, gt=0, le=5_256_000, description="Life of a user token; ten years at most."
    )
    session_expire_days: float = Field(
        default=14, gt=0, le=3650, description="How long a browser stays signed in; ten years at most."
    )
    initial_user_name: str = Field(default="admin", description="First user, created when there is none.")
    initial_user_password: SecretStr | None = Field(default=None, description="Its password; empty: generated.")
    worker_slots: int = Field(default=20, ge=1, le=1000, description="Deployments that one worker runs at once.")
    worker_grace_seconds: float = Field(
        default=300, gt=0, le=MAX_TIMEOUT, description="After this silence a worker counts as gone."
    )
    deployment_timeout_seconds: float = Field(default=3600, gt=0, le=MAX_TIMEOUT, description="Time limit of a run.")
    output_limit_mib: int = Field(default=512, ge=1, le=1 << 20, description="Output kept of one run, in MiB.")
    retention_days: float = Field(
        default=0, ge=0, le=36_500, description="Deployments older than this go; 0 keeps them."
    )
    retention_count: int = Field(
        default=0, ge=0, le=1_000_000_000, description="Deployments kept per service; 0 keeps all."
    )
    allowed_origins: Annotated[list[str], NoDecode] = Field(
        default=[], description="Further origins that may open the WebSocket."
    )
    cookie_secure: bool = Field(default=False, description="Send the session cookie over HTTPS only.")
    max_waiting_connections: int = Field(
        default=3000, ge=1, description="Connections that may wait for their clients, in each web server process."
    )
    max_waiting_connections_per_address: int = Field(default=1500, ge=1, description="The same, per client address.")
    request_head_timeout_seconds: float = Field(default=15, gt=0, description="Time for a request line and headers.")
    request_body_timeout_seconds: float = Field(default=60, gt=0, description="Time for a request body.")
    sign_in_timeout_seconds: float = Field(default=10, gt=0, description="Time to sign in on a WebSocket.")
    send_timeout_seconds: float = Field(
        default=60, gt=0, description="A client that takes nothing for this long goes."
    )
    websocket_messages_per_second: float = Field(default=20, gt=0, description="Messages that a client may send.")
    postgres_bin_dir: Path | None = Field(default=None, description="Binaries of the bundled server.")
    log_level: str = Field(default="info", description="debug, info, warning or error.")

    @field_validator("secret_key")
    @classmethod
    def _check_secret_key(cls, key: SecretStr | None) -> SecretStr | None:
        text = key.get_secret_value() if key is not None else ""
        if text and (len(text) < MIN_KEY_LENGTH or len(set(text)) < MIN_KEY_VARIETY):
            raise ValueError(
                f"is too easy to guess: use at least {MIN_KEY_LENGTH} random characters, such as the output of: {MAKE_KEY}"
            )
        return key

    @field_validator("api_url")
    @classmethod
    def _check_api_url(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("must be an address that starts with http:// or https://")
        return url

    @field_validator("log_level")
    @classmethod
    def _check_log_level(cls, level: str) -> str:
        known = OTHER_LEVELS.get(level.lower(), level.lower())
        if known not in LOG_LEVELS:
            raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
        return known

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _read_origins(cls, value: object) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError(f"must be {LIST_OF_TEXTS}") from None

    @property
    def is_embedded(self) -> bool:
        """Whether the bundled PostgreSQL is used."""
        return not self.database_url

    @property
    def runs_dir(self) -> Path:
        """Return the folder of the run directories."""
        return self.data_dir / "runs"


def prepare_data_dir(settings: Settings) -> None:
    """Create the data folder, private to its owner. Another user's folder keeps its permissions.

    Raises:
        ConfigurationError: it cannot be created or written, or it is not ours.
    """
    folder = settings.data_dir
    try:
        _make_private(folder)
        if not settings.runs_dir.exists():
            settings.runs_dir.mkdir(mode=0o700, exist_ok=True)
            _give_to_owner(settings.runs_dir)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {folder} cannot be used ({error.strerror}). "
            "Give it to the user who runs fastDeploy, or choose another one with --data-dir or DATA_DIR."
        ) from error


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        info = folder.stat()
        if not stat.S_ISDIR(info.st_mode):
            raise ConfigurationError(
                f"The data folder {folder} cannot be used (it is a file). Choose another one with --data-dir or DATA_DIR."
            ) from None
        if info.st_mode & stat.S_ISVTX and any(folder.iterdir()):
            raise ConfigurationError(
                f"The data folder {folder} cannot be used (all users share it). "
                f"Choose a folder of its own with --data-dir or DATA_DIR, such as {folder / 'fastdeploy'}."
            ) from None
        if info.st_uid != os.geteuid():
            _check_foreign(folder, info.st_uid)
            return
    # As root the bundled PostgreSQL runs as another user, which must be able to reach its own folder.
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _check_foreign(folder: Path, owner: int) -> None:
    """Refuse another user's folder. Root may use it, but does not change who can enter it."""
    if os.geteuid() != 0:
        raise ConfigurationError(
            f"The data folder {folder} cannot be used (it belongs to {_user_name(owner)}). "
            "Run this as that user, or choose another one with --data-dir or DATA_DIR."
        )


def _user_name(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with id {uid}"


def _give_to_owner(path: Path) -> None:
    """Hand what root has created to the owner of the folder it is in, who would be locked out of it otherwise."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def secret_key(settings: Settings) -> str:
    """Return the key that signs tokens; for the bundled database it is made once and kept in the data folder.

    Raises:
        ConfigurationError: there is none, and making one up would lock out every other process.
    """
    if settings.secret_key is not None and settings.secret_key.get_secret_value():
        return settings.secret_key.get_secret_value()
    if not settings.is_embedded:
        raise ConfigurationError(
            "SECRET_KEY is missing. With a database of your own, set it in the environment or in .env: the same long "
            f"random text for every process, for example the output of: {MAKE_KEY}"
        )
    return kept_secret(settings.data_dir / "secret-key", secrets.token_hex(32))


def kept_secret(path: Path, fresh: str) -> str:
    """Return what the file holds; where there is none, write `fresh` into it (mode 0600), once, whoever comes first."""
    try:
        descriptor = os.open(path.with_suffix(f".{os.getpid()}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(fresh)
        _give_to_owner(path.with_suffix(f".{os.getpid()}"))
        try:
            os.link(path.with_suffix(f".{os.getpid()}"), path)
        except FileExistsError:
            pass
        finally:
            path.with_suffix(f".{os.getpid()}").unlink()
        return path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read or written ({error.strerror}).") from error

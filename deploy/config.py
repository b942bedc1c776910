"""Settings, read from the environment, then `.env`, then the defaults below. Secrets do not have defaults."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import stat
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from deploy.domain.service_config import MAX_RETENTION_COUNT, MAX_RETENTION_DAYS, MAX_TIMEOUT

ENV_FILE = ".env"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOG_LEVELS = ("debug", "info", "warning", "error")
# Names that earlier versions accepted.
OTHER_LEVELS = {"warn": "warning", "critical": "error"}
# New keys must be at least this long. Existing keys shorter than GOOD_KEY_LENGTH still work, with a warning.
MIN_KEY_LENGTH, MIN_KEY_VARIETY, GOOD_KEY_LENGTH = 8, 4, 32
MAKE_KEY = "openssl rand -hex 32"
MAX_CONNECTIONS, MAX_RATE = 1_000_000, 1_000_000
STRING_LIST = 'a JSON list of strings, such as ["https://status.example.com"]'


class ConfigurationError(Exception):
    """The server cannot start with these settings. The message names the setting and says what to do."""


class SettingsError(ConfigurationError):
    """Settings have invalid values. The message has one line for each."""


class Settings(BaseSettings):
    """Settings of a server or worker, described in docs/reference/configuration.md."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE, env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True
    )

    database_url: str = Field(default="", description="PostgreSQL URL. Empty: the bundled server.")
    secret_key: SecretStr | None = Field(default=None, description="Key that signs tokens.")
    data_dir: Path = Field(default=Path("data"), description="Folder for the bundled database, secrets and runs.")
    services_root: Path = Field(default=Path("services"), description="Folder that holds the service folders.")
    path_for_deploy: str = Field(
        default=f"{Path(sys.executable).parent}:{SYSTEM_PATH}", description="PATH for deploy scripts."
    )
    sudo_user: str = Field(default="", description="Deploy user. Empty: the user that runs the server.")
    ssh_auth_sock: str = Field(default="", description="Socket of the SSH agent for scripts and playbooks.")
    api_url: str = Field(
        default="", description="URL at which runs reach the server. Empty: the address it listens on."
    )
    public_url: str = Field(
        default="", description="URL at which clients reach the server. Empty: API_URL, or the address it listens on."
    )
    access_token_expire_minutes: float = Field(
        default=30, gt=0, le=5_256_000, description="Lifetime of a user token, at most ten years."
    )
    session_expire_days: float = Field(
        default=14, gt=0, le=3650, description="Days until a browser session expires, at most ten years."
    )
    initial_user_name: str = Field(default="admin", description="Name of the first user, created if no user exists.")
    initial_user_password: SecretStr | None = Field(
        default=None, description="Password of the first user. Empty: generated."
    )
    worker_slots: int = Field(
        default=20, ge=1, le=1000, description="Maximum number of deployments a worker runs at once."
    )
    worker_grace_seconds: float = Field(
        default=300,
        gt=0,
        le=MAX_TIMEOUT,
        description="Seconds without a heartbeat after which a worker is considered lost.",
    )
    deployment_timeout_seconds: float = Field(
        default=3600, gt=0, le=MAX_TIMEOUT, description="Default timeout of a run, in seconds."
    )
    output_limit_mib: int = Field(default=512, ge=1, le=1 << 20, description="Maximum output stored per run, in MiB.")
    max_waiting_per_service: int = Field(
        default=1000, ge=1, description="Maximum number of deployments of a service that wait at the same time."
    )
    max_waiting_per_user: int = Field(
        default=5000, ge=1, description="Maximum number of deployments of a user that wait at the same time."
    )
    retention_days: float = Field(
        default=0, ge=0, le=MAX_RETENTION_DAYS, description="Days after which deployments are removed; 0 keeps them."
    )
    retention_count: int = Field(
        default=0,
        ge=0,
        le=MAX_RETENTION_COUNT,
        description="Maximum number of deployments kept per service; 0 keeps all.",
    )
    allowed_origins: Annotated[list[str], NoDecode] = Field(
        default=[], description="Additional origins that may open the WebSocket."
    )
    cookie_secure: bool = Field(default=False, description="Send the session cookie only over HTTPS.")
    max_waiting_connections: int = Field(
        default=3000,
        ge=1,
        le=MAX_CONNECTIONS,
        description="Maximum number of connections waiting for their clients, per web server process.",
    )
    max_waiting_connections_per_address: int = Field(
        default=1500,
        ge=1,
        le=MAX_CONNECTIONS,
        description="Maximum number of waiting connections per client address.",
    )
    request_head_timeout_seconds: float = Field(
        default=15, gt=0, le=MAX_TIMEOUT, description="Timeout for the request line and headers, in seconds."
    )
    request_body_timeout_seconds: float = Field(
        default=60, gt=0, le=MAX_TIMEOUT, description="Timeout for the request body, in seconds."
    )
    sign_in_timeout_seconds: float = Field(
        default=10, gt=0, le=MAX_TIMEOUT, description="Timeout for signing in on a WebSocket, in seconds."
    )
    send_timeout_seconds: float = Field(
        default=60, gt=0, le=MAX_TIMEOUT, description="Timeout for sending to a slow client, in seconds."
    )
    websocket_messages_per_second: float = Field(
        default=20, gt=0, le=MAX_RATE, description="Rate limit for messages from a client."
    )
    read_timeout_seconds: float = Field(
        default=10, gt=0, le=3600, description="Timeout for a read in the database, in seconds."
    )
    postgres_bin_dir: Path | None = Field(default=None, description="Folder with the programs of the bundled server.")
    log_level: str = Field(default="info", description="Log level: debug, info, warning or error.")

    log_sql: bool = Field(
        default=False, description="Log every SQL statement with its duration. Values are not logged."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _check_text(cls, value: object, info: ValidationInfo) -> object:
        """Reject text that no program, file, or database could use."""
        if not isinstance(value, str) or info.field_name is None:
            return value
        kind = cls.model_fields[info.field_name].annotation
        is_path, is_plain = kind in (Path, Path | None), kind is str
        if "\0" in value or ((is_path or is_plain) and any(ord(one) < 32 or ord(one) == 127 for one in value)):
            raise ValueError("must not contain control characters")
        if (is_path or is_plain) and value.isspace():
            raise ValueError("must not be blank")
        # File names are bytes, but everything else is stored or sent as UTF-8.
        if not is_path and any("\ud800" <= one <= "\udfff" for one in value):
            raise ValueError("must be UTF-8")
        return value

    @field_validator("secret_key")
    @classmethod
    def _check_secret_key(cls, key: SecretStr | None) -> SecretStr | None:
        text = key.get_secret_value() if key is not None else ""
        if text and (len(text) < MIN_KEY_LENGTH or len(set(text)) < MIN_KEY_VARIETY):
            raise ValueError(
                f"is too easy to guess: use at least {MIN_KEY_LENGTH} random characters, such as the output of: {MAKE_KEY}"
            )
        return key

    @field_validator("api_url", "public_url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        if url and not _has_host(url):
            raise ValueError(
                "must contain a host and, if it has a port, a valid one, such as https://deploy.example.com"
            )
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
            raise ValueError(f"must be {STRING_LIST}") from None

    @property
    def is_embedded(self) -> bool:
        """Return True if the bundled PostgreSQL is used."""
        return not self.database_url

    @property
    def runs_dir(self) -> Path:
        """Return the folder that contains the run folders."""
        return self.data_dir / "runs"


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and " " not in url
    except ValueError:
        return False


def prepare_data_dir(settings: Settings) -> None:
    """Create the data folder and make it private. Keep the permissions of a folder that another user owns.

    Raises:
        ConfigurationError: The folder cannot be created or written to, or it belongs to another user.
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
        raise SettingsError(
            f"The data folder {folder} cannot be used ({error.strerror}). "
            "Make it writable for the user that runs fastDeploy, or choose another folder with --data-dir or DATA_DIR."
        ) from error


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        info = folder.stat()
        if not stat.S_ISDIR(info.st_mode):
            raise SettingsError(
                f"The data folder {folder} cannot be used (it is a file). Choose another path with --data-dir or DATA_DIR."
            ) from None
        if info.st_mode & stat.S_ISVTX and any(folder.iterdir()):
            raise SettingsError(
                f"The data folder {folder} cannot be used (it is shared by all users). "
                f"Choose a separate folder with --data-dir or DATA_DIR, such as {folder / 'fastdeploy'}."
            ) from None
        if info.st_uid != os.geteuid():
            _check_foreign(folder, info.st_uid)
            return
    # When root starts the server, the bundled PostgreSQL runs as another user, who must be able to access its folder.
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _check_foreign(folder: Path, owner: int) -> None:
    """Raise SettingsError if another user owns the folder, unless this process runs as root."""
    if os.geteuid() != 0:
        raise SettingsError(
            f"The data folder {folder} cannot be used (it belongs to {_user_name(owner)}). "
            "Run this command as that user, or choose another folder with --data-dir or DATA_DIR."
        )


def _user_name(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user ID {uid}"


def _give_to_owner(path: Path) -> None:
    """Give a file that root created to the owner of its folder, who could not use it otherwise."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def secret_key(settings: Settings) -> str:
    """Return the key that signs tokens. With the bundled database, generate it once and keep it in the data folder.

    Raises:
        SettingsError: DATABASE_URL is set, but SECRET_KEY is not. Every process needs the same key.
    """
    if settings.secret_key is not None and settings.secret_key.get_secret_value():
        return settings.secret_key.get_secret_value()
    if not settings.is_embedded:
        raise SettingsError(
            "SECRET_KEY is missing. It is required with DATABASE_URL: set it in the environment or in .env, to the same "
            f"value for every process. To generate one: {MAKE_KEY}"
        )
    return read_or_create_secret(settings.data_dir / "secret-key", secrets.token_hex(32))


def read_or_create_secret(path: Path, fresh: str) -> str:
    """Return the content of a file; create it with `fresh` (mode 0600) if it does not exist.

    If several processes create the file at the same time, they all return the content that was written first.

    Raises:
        ConfigurationError: The file cannot be read or created.
    """
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

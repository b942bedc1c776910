"""Settings: from the environment, then from `.env`, then the defaults here. No secret has a default."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

# A year. Nobody waits longer for a run, and what computes with it (when its token ends, say) has room for it.
LONGEST_TIMEOUT = 31_536_000
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ConfigurationError(Exception):
    """The settings do not allow to start; the text says which one, and what to do."""


class Settings(BaseSettings):
    """What an operator can set. docs/reference/configuration describes each."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True
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
    access_token_expire_minutes: float = Field(default=30, gt=0, description="Life of a user token.")
    session_expire_days: float = Field(default=14, gt=0, description="How long a browser stays signed in.")
    initial_user_name: str = Field(default="admin", description="First user, created when there is none.")
    initial_user_password: SecretStr | None = Field(default=None, description="His password; empty: generated.")
    worker_slots: int = Field(default=20, ge=1, le=1000, description="Deployments that one worker runs at once.")
    worker_grace_seconds: float = Field(default=300, gt=0, description="After this silence a worker counts as gone.")
    deployment_timeout_seconds: float = Field(
        default=3600, gt=0, le=LONGEST_TIMEOUT, description="Time limit of a run."
    )
    output_limit_mib: int = Field(default=512, ge=1, description="Output kept of one run, in MiB.")
    retention_days: float = Field(default=0, ge=0, description="Deployments older than this go; 0 keeps them.")
    retention_count: int = Field(default=0, ge=0, description="Deployments kept per service; 0 keeps all.")
    allowed_origins: list[str] = Field(default=[], description="Further origins that may open the WebSocket.")
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

    @property
    def is_embedded(self) -> bool:
        """Whether the bundled PostgreSQL is used."""
        return not self.database_url

    @property
    def runs_dir(self) -> Path:
        """Return the folder of the run directories."""
        return self.data_dir / "runs"


def prepare_data_dir(settings: Settings) -> None:
    """Make the data folder, private to its owner.

    Raises:
        ConfigurationError: it cannot be made or written.
    """
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # As root the bundled PostgreSQL runs as another user, who has to get through to his own folder.
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        settings.runs_dir.mkdir(mode=0o700, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {folder} cannot be used ({error.strerror}). "
            "Give it to the user who runs fastDeploy, or choose another one with --data-dir or DATA_DIR."
        ) from error


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
            "random text for every process, for example the output of: openssl rand -hex 32"
        )
    return kept_secret(settings.data_dir / "secret-key", secrets.token_hex(32))


def kept_secret(path: Path, fresh: str) -> str:
    """Return what the file holds; where there is none, write `fresh` into it (mode 0600), once, whoever comes first."""
    try:
        descriptor = os.open(path.with_suffix(f".{os.getpid()}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(fresh)
        try:
            os.link(path.with_suffix(f".{os.getpid()}"), path)
        except FileExistsError:
            pass
        finally:
            path.with_suffix(f".{os.getpid()}").unlink()
        return path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read or written ({error.strerror}).") from error

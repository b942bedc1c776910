"""Find the server's folders, settings, and database for commands that run on its machine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from deploy.config import Settings
    from deploy.entrypoints.serve.known_servers import ServerRecord

DataDir = Annotated[
    Path | None, typer.Option(help="Folder for the bundled database, secrets and runs. Overrides DATA_DIR.")
]
ServicesDir = Annotated[
    Path | None, typer.Option(help="Folder that holds the service folders. Overrides SERVICES_ROOT.")
]


def settings_from(data_dir: Path | None = None, services_dir: Path | None = None, **more: Any) -> Settings:
    """Return the settings with absolute paths. Command-line options override them."""
    from deploy.entrypoints.serve.settings import load_settings

    return _prepared(load_settings(data_dir=data_dir, services_root=services_dir, **more), _current_folder())


def server_settings(data_dir: Path | None = None, services_dir: Path | None = None) -> Settings:
    """Return the settings of the server that a command works on.

    Use the data folder or database given as an option, in the environment, or in `.env`. Otherwise, use an existing one: `data` in the current folder, or a folder on which this user has started a server. Apply the
    `.env` and the services folder of that server, not those of the current folder.

    Raises:
        ConfigurationError: No data folder or several data folders were found, or the database URL is not known here.
    """
    from deploy.entrypoints.serve.known_servers import read_record
    from deploy.entrypoints.serve.settings import ENV_FILE, from_environment, load_settings

    named, env_file = data_dir or _path_from(from_environment("data_dir")), None
    if named is None:
        settings = load_settings(services_root=services_dir)
        if "data_dir" in settings.model_fields_set:
            named, env_file = settings.data_dir, ENV_FILE
        elif not settings.is_embedded:
            return _prepared(_with_services_root(settings), _current_folder())
        else:
            named = _find(_absolute(settings.data_dir, _current_folder()))
    named = _absolute(named, _current_folder())
    record = read_record(named)
    if record is None:
        return settings_from(named, services_dir)
    return _settings_of_server(record, named, services_dir, env_file)


def worker_settings(data_dir: Path | None, services_dir: Path | None, **more: Any) -> Settings:
    """Return the settings of a worker. Use the server's folders unless others are given."""
    from deploy.entrypoints.serve.known_servers import read_record
    from deploy.entrypoints.serve.settings import load_settings

    settings = load_settings(data_dir=data_dir, services_root=services_dir, **more)
    if settings.is_embedded:
        if "data_dir" not in settings.model_fields_set:
            settings.data_dir = _find(_absolute(settings.data_dir, _current_folder()))
        record = read_record(_absolute(settings.data_dir, _current_folder()))
        if record is not None and "services_root" not in settings.model_fields_set:
            settings.services_root = Path(record.services_root)
    return _prepared(settings, _current_folder())


def require_database(settings: Settings) -> str:
    """Return the URL of a running database.

    Raises:
        ConfigurationError: No server is running on the data folder, and DATABASE_URL is not set.
    """
    from deploy.adapters.postgres import running_url
    from deploy.config import ConfigurationError

    url = settings.database_url or running_url(settings.data_dir)
    if url is None:
        raise ConfigurationError(
            f"No server is running on the data folder {settings.data_dir}. Start one with: fastdeploy serve. "
            "Or set DATABASE_URL."
        )
    return url


def _find(default: Path) -> Path:
    from deploy.adapters.postgres import has_database
    from deploy.config import ConfigurationError
    from deploy.entrypoints.serve.known_servers import is_running, known_data_dirs, read_record

    if has_database(default) or read_record(default) is not None:
        return default
    known = known_data_dirs()
    running = [folder for folder in known if is_running(folder)]
    if len(candidates := running or known) == 1:
        typer.echo(f"Using data folder {candidates[0]}", err=True)
        return candidates[0]
    advice = "Set --data-dir or DATA_DIR to the data folder of the server"
    if not known:
        raise ConfigurationError(f"There is no database in {default}. {advice}, or set DATABASE_URL to its database.")
    labels = [f"{folder} (running)" if folder in running else str(folder) for folder in known]
    raise ConfigurationError(f"You have started several servers. {advice}:\n  " + "\n  ".join(labels))


def _with_services_root(settings: Settings) -> Settings:
    """Use the services folder of a server on the same database, unless one is given."""
    from deploy.adapters.database import without_password
    from deploy.entrypoints.serve.known_servers import known_data_dirs, read_record

    if "services_root" not in settings.model_fields_set:
        database = without_password(settings.database_url)
        folders = [_absolute(settings.data_dir, _current_folder()), *known_data_dirs()]
        records = [read_record(folder) for folder in folders]
        roots = {record.services_root for record in records if record is not None and record.database == database}
        if len(roots) == 1:
            settings.services_root = Path(roots.pop())
    return settings


def _settings_of_server(
    record: ServerRecord, data_dir: Path, services_dir: Path | None, env_file: Path | None = None
) -> Settings:
    """Return the settings of a server. Settings given here override them. `env_file` replaces the server's file."""
    from deploy.config import SettingsError
    from deploy.entrypoints.serve.settings import from_environment, load_settings

    services_dir = services_dir or _path_from(from_environment("services_root"))
    services_dir = _absolute(services_dir or Path(record.services_root), _current_folder())
    settings = load_settings(env_file or record.env_file, data_dir=data_dir, services_root=services_dir)
    if record.database and settings.is_embedded:
        raise SettingsError(
            f"The server on {data_dir} uses the database {record.database}. "
            "Set DATABASE_URL and SECRET_KEY to the same values as for the server."
        )
    return _prepared(settings, _current_folder() if env_file is not None else Path(record.working_dir))


def _path_from(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _prepared(settings: Settings, folder: Path) -> Settings:
    """Resolve relative paths against `folder`, and configure logging."""
    settings.data_dir = _absolute(settings.data_dir, folder)
    settings.services_root = _absolute(settings.services_root, folder)
    if settings.postgres_bin_dir is not None:
        settings.postgres_bin_dir = _absolute(settings.postgres_bin_dir, folder)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(message)s")
    logging.getLogger("alembic").setLevel("WARNING")
    # fastDeploy logs the causes of retries itself, in sentences.
    logging.getLogger("stamina").setLevel("ERROR")
    return settings


def _absolute(path: Path, folder: Path) -> Path:
    from deploy.config import SettingsError

    try:
        return folder / path.expanduser()
    except RuntimeError as error:
        raise SettingsError(
            f"The path {path} cannot be used: its user does not exist or has no home folder. Use an absolute path."
        ) from error


def _current_folder() -> Path:
    from deploy.config import ConfigurationError

    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise ConfigurationError("The current folder no longer exists. Change to another folder.") from error

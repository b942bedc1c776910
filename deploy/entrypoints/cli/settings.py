"""Where commands on the server itself find it: its folders, its settings, its database."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from deploy.config import Settings
    from deploy.entrypoints.known_servers import ServerRecord

DataDir = Annotated[Path | None, typer.Option(help="Folder of the bundled database, secrets and runs [DATA_DIR].")]
ServicesDir = Annotated[Path | None, typer.Option(help="Folder that holds the service folders [SERVICES_ROOT].")]


def settings_from(data_dir: Path | None = None, services_dir: Path | None = None, **more: Any) -> Settings:
    """Return the settings, in which options of the command line win; folders are made absolute."""
    from deploy.entrypoints.settings import load_settings

    return _prepared(load_settings(data_dir=data_dir, services_root=services_dir, **more), _current_folder())


def server_settings(data_dir: Path | None = None, services_dir: Path | None = None) -> Settings:
    """Return the settings of the server whose data a command is for.

    A data folder or a database that was named (by option, environment or `.env`) is used, even if it is new. Otherwise
    it must be there: in `data` below the current folder, or where this user has started a server. The `.env` and the
    services folder of that server count, not those of the current folder.

    Raises:
        ConfigurationError: no data, or several, were found; or they are in a database whose address is not known here.
    """
    from deploy.entrypoints.known_servers import read_record
    from deploy.entrypoints.settings import ENV_FILE, from_environment, load_settings

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
    return _as_the_server(record, named, services_dir, env_file)


def worker_settings(data_dir: Path | None, services_dir: Path | None, **more: Any) -> Settings:
    """Return the settings of a worker: its own, and the folders of the server where they are not named."""
    from deploy.entrypoints.known_servers import read_record
    from deploy.entrypoints.settings import load_settings

    settings = load_settings(data_dir=data_dir, services_root=services_dir, **more)
    if settings.is_embedded:
        if "data_dir" not in settings.model_fields_set:
            settings.data_dir = _find(_absolute(settings.data_dir, _current_folder()))
        record = read_record(_absolute(settings.data_dir, _current_folder()))
        if record is not None and "services_root" not in settings.model_fields_set:
            settings.services_root = Path(record.services_root)
    return _prepared(settings, _current_folder())


def require_database(settings: Settings) -> str:
    """Return the URL of the database that is in use.

    Raises:
        ConfigurationError: no server runs on the data folder, and DATABASE_URL names none.
    """
    from deploy.adapters.postgres import running_url
    from deploy.config import ConfigurationError

    url = settings.database_url or running_url(settings.data_dir)
    if url is None:
        raise ConfigurationError(
            f"No fastDeploy runs on the data folder {settings.data_dir}. Start `fastdeploy serve` first, "
            "or set DATABASE_URL."
        )
    return url


def _find(default: Path) -> Path:
    from deploy.adapters.postgres import has_database
    from deploy.config import ConfigurationError
    from deploy.entrypoints.known_servers import is_running, known_data_dirs, read_record

    if has_database(default) or read_record(default) is not None:
        return default
    known = known_data_dirs()
    running = [folder for folder in known if is_running(folder)]
    if len(candidates := running or known) == 1:
        typer.echo(f"Using the data folder {candidates[0]} of the server that was started on it.", err=True)
        return candidates[0]
    name_it = "Name the server's data folder with --data-dir or DATA_DIR"
    if not known:
        raise ConfigurationError(f"There is no database in {default}. {name_it}, or its database with DATABASE_URL.")
    marked = [f"{folder} (running)" if folder in running else str(folder) for folder in known]
    raise ConfigurationError(f"Several servers were started by this user. {name_it}:\n  " + "\n  ".join(marked))


def _with_services_root(settings: Settings) -> Settings:
    """Use the services folder that a server on the same database uses, unless one is named here."""
    from deploy.adapters.database import without_password
    from deploy.entrypoints.known_servers import known_data_dirs, read_record

    if "services_root" not in settings.model_fields_set:
        database = without_password(settings.database_url)
        folders = [_absolute(settings.data_dir, _current_folder()), *known_data_dirs()]
        records = [read_record(folder) for folder in folders]
        roots = {record.services_root for record in records if record is not None and record.database == database}
        if len(roots) == 1:
            settings.services_root = Path(roots.pop())
    return settings


def _as_the_server(
    record: ServerRecord, data_dir: Path, services_dir: Path | None, env_file: Path | None = None
) -> Settings:
    """Return the settings that a server has, as far as they are not named here. `env_file`: read it, not the server's."""
    from deploy.config import ConfigurationError
    from deploy.entrypoints.settings import from_environment, load_settings

    services_dir = services_dir or _path_from(from_environment("services_root"))
    services_dir = _absolute(services_dir or Path(record.services_root), _current_folder())
    settings = load_settings(env_file or record.env_file, data_dir=data_dir, services_root=services_dir)
    if record.database and settings.is_embedded:
        raise ConfigurationError(
            f"The server on {data_dir} uses the database {record.database}. "
            "Set DATABASE_URL and SECRET_KEY to the values that the server has."
        )
    return _prepared(settings, _current_folder() if env_file is not None else Path(record.working_dir))


def _path_from(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _prepared(settings: Settings, folder: Path) -> Settings:
    """Make folders absolute (relative ones are below `folder`), and log as the settings say."""
    settings.data_dir = _absolute(settings.data_dir, folder)
    settings.services_root = _absolute(settings.services_root, folder)
    if settings.postgres_bin_dir is not None:
        settings.postgres_bin_dir = _absolute(settings.postgres_bin_dir, folder)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(message)s")
    logging.getLogger("alembic").setLevel("WARNING")
    return settings


def _absolute(path: Path, folder: Path) -> Path:
    from deploy.config import ConfigurationError

    try:
        return folder / path.expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"The path {path} cannot be used ({error}).") from error


def _current_folder() -> Path:
    from deploy.config import ConfigurationError

    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise ConfigurationError("The current folder does not exist any more. Change to another one.") from error

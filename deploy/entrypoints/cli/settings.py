"""Where commands on the server itself find it: its folders, its settings, its database."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from deploy.config import Settings

DataDir = Annotated[Path | None, typer.Option(help="Folder of the bundled database, secrets and runs [DATA_DIR].")]
ServicesDir = Annotated[Path | None, typer.Option(help="Folder that holds the service folders [SERVICES_ROOT].")]


def settings_from(data_dir: Path | None = None, services_dir: Path | None = None, **more: Any) -> Settings:
    """Return the settings, in which options of the command line win; folders are made absolute."""
    from deploy.config import Settings

    given = {"data_dir": data_dir, "services_root": services_dir, **more}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    settings.data_dir = settings.data_dir.expanduser().absolute()
    settings.services_root = settings.services_root.expanduser().absolute()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(message)s")
    logging.getLogger("alembic").setLevel("WARNING")
    return settings


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

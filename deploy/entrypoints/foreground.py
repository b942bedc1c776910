"""`fastdeploy serve` in the foreground: its socket, its database, and then the server. Light to load, hence quick to complain."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from pydantic import BaseModel

from deploy.adapters.postgres import PostgresServer, has_database, running_url
from deploy.config import ConfigurationError, Settings, prepare_data_dir

if TYPE_CHECKING:
    from deploy.entrypoints.first_user import Introduction


SERVER, UPGRADES = "deploy.entrypoints.server", "deploy.adapters.migrations.upgrading"


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How to serve. `workers` counts web server processes; `inherited` is a listening socket from a parent."""

    host: str
    port: int
    with_worker: bool
    workers: int = 1
    inherited: int | None = None


def serve(settings: Settings, options: ServeOptions, announce: Callable[[str, Introduction], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` gets the address, and how to sign in at first.

    Raises:
        ConfigurationError, PostgresError: it cannot start; the text says what to do.
    """
    prepare_data_dir(settings)
    listening = listening_socket(options)
    # The web server takes longer to load than the database to start: both at the same time. While a database is created,
    # there is time for what makes the tables in it, too.
    loading = threading.Thread(target=_load_server, args=[_is_first_start(settings)])
    loading.start()
    try:
        with database(settings, attach=options.inherited is not None) as (url, postgres):
            loading.join()
            import_module(SERVER).run(settings, options, listening, url, postgres, announce)
    finally:
        # What it loads cannot be loaded any more while the interpreter ends.
        loading.join()


def _is_first_start(settings: Settings) -> bool:
    return settings.is_embedded and not has_database(settings.data_dir)


def _load_server(with_upgrades: bool) -> None:
    # FastAPI would load it, all of it, to tell whether a model is one of Pydantic 1; nobody here has any.
    sys.modules["pydantic.v1"] = None  # type: ignore[assignment]
    with _models_built_later():
        import_module("fastapi")
    import_module(SERVER)
    if with_upgrades:
        import_module(UPGRADES)


@contextmanager
def _models_built_later() -> Iterator[None]:
    """Do not build models as they are loaded.

    Those by which FastAPI describes an API take a tenth of a second, and nobody needs them until he asks for the
    description. Pydantic has no other way to say so of classes that are not ours.
    """
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]


def listening_socket(options: ServeOptions) -> socket.socket:
    """Return the socket to answer on.

    Raises:
        ConfigurationError: the address cannot be had.
    """
    if options.inherited is not None:
        return socket.socket(fileno=options.inherited)
    try:
        return _bound(options.host, options.port)
    except OSError as error:
        raise ConfigurationError(
            f"Port {options.port} on {options.host} cannot be used ({error.strerror}). "
            "Stop what uses it, or choose another one with --port."
        ) from error


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    listening.listen(2048)
    listening.set_inheritable(True)
    return listening


@contextmanager
def database(settings: Settings, *, attach: bool = False) -> Iterator[tuple[str, PostgresServer | None]]:
    """Give the URL of the database, and the bundled server where we run it.

    `attach`: use the bundled server that another process runs, do not start one.
    """
    if not settings.is_embedded:
        yield settings.database_url, None
        return
    url = running_url(settings.data_dir) if attach else None
    if url is not None:
        yield url, None
        return
    with PostgresServer(settings.data_dir, bin_dir=settings.postgres_bin_dir) as postgres:
        yield postgres.url, postgres

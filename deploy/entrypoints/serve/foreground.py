"""Run `fastdeploy serve`: open the socket and the database, then run the server.

This module imports little, so that it can report errors quickly.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from pydantic import BaseModel

from deploy.adapters.postgres import PostgresServer, has_database, running_url
from deploy.adapters.runs.start import RunError
from deploy.adapters.service_folders.processes import Checkers, FoldersUnavailable
from deploy.config import ConfigurationError, Settings, prepare_data_dir
from deploy.entrypoints.deploy_user import deploy_user
from deploy.entrypoints.serve.pools import bundled_max_connections

if TYPE_CHECKING:
    from deploy.entrypoints.serve.first_user import FirstSteps


SERVER, UPGRADES = "deploy.entrypoints.serve.server", "deploy.adapters.migrations.upgrading"


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Options of `serve`.

    `workers` is the number of web server processes. `inherited` is the descriptor of a listening socket.
    """

    host: str
    port: int
    with_worker: bool
    workers: int = 1
    inherited: int | None = None


def serve(settings: Settings, options: ServeOptions, announce: Callable[[str, FirstSteps], None]) -> None:
    """Serve until SIGTERM or SIGINT. When ready, call `announce` with the address and the first steps.

    Raises:
        ConfigurationError, PostgresError: The server cannot start. The message says what to do.
    """
    prepare_data_dir(settings)
    listening = listening_socket(options)
    with _early_checkers(settings, options) as checkers:
        _serve(settings, options, listening, checkers, announce)


def _serve(
    settings: Settings,
    options: ServeOptions,
    listening: socket.socket,
    checkers: Checkers,
    announce: Callable[[str, FirstSteps], None],
) -> None:
    # Importing the web server takes longer than starting the database, so do both at the same time. Creating a
    # database takes long enough to import the migrations as well.
    loading = threading.Thread(target=_load_server, args=[_is_first_start(settings)])
    loading.start()
    try:
        with database(settings, attach=options.inherited is not None, processes=options.workers) as (url, postgres):
            loading.join()
            import_module(SERVER).run(settings, options, listening, url, postgres, checkers, announce)
    finally:
        # Imports fail while the interpreter is shutting down.
        loading.join()


@contextmanager
def _early_checkers(settings: Settings, options: ServeOptions) -> Iterator[Checkers]:
    """Start the process that checks service folders, which takes as long as a third of the other imports."""
    checkers = Checkers()
    if options.inherited is None:
        # Reading the folders reports what is wrong.
        with suppress(ConfigurationError, RunError, FoldersUnavailable, OSError):
            checkers.start_early(deploy_user(settings))
    try:
        yield checkers
    finally:
        checkers.end_unused()


def _is_first_start(settings: Settings) -> bool:
    return settings.is_embedded and not has_database(settings.data_dir)


def _load_server(with_upgrades: bool) -> None:
    # FastAPI would import the whole package to recognize Pydantic 1 models, which this project does not use.
    sys.modules["pydantic.v1"] = None  # type: ignore[assignment]
    with _deferred_models():
        import_module("fastapi")
    import_module(SERVER)
    if with_upgrades:
        import_module(UPGRADES)


@contextmanager
def _deferred_models() -> Iterator[None]:
    """Defer building Pydantic models until they are used.

    The models of FastAPI's OpenAPI schema take 0.1 s to build, and most processes never need them. Pydantic does not
    have another way to defer the models of other packages.
    """
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]


def listening_socket(options: ServeOptions) -> socket.socket:
    """Return the listening socket.

    Raises:
        ConfigurationError: The address cannot be used.
    """
    if options.inherited is not None:
        return socket.socket(fileno=options.inherited)
    try:
        return _bound(options.host, options.port)
    except OSError as error:
        raise ConfigurationError(
            f"Port {options.port} on {options.host} cannot be used ({error.strerror}). "
            "Stop the program that uses it, or choose another port with --port."
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
def database(
    settings: Settings, *, attach: bool = False, processes: int = 1
) -> Iterator[tuple[str, PostgresServer | None]]:
    """Yield the URL of the database, and the bundled server if this process runs it.

    With `attach`, use a bundled server that another process is running, if there is one. `processes` is the number of
    web server processes that use it.
    """
    if not settings.is_embedded:
        yield settings.database_url, None
        return
    url = running_url(settings.data_dir) if attach else None
    if url is not None:
        yield url, None
        return
    limits = {"max_connections": str(bundled_max_connections(processes))}
    with PostgresServer(settings.data_dir, bin_dir=settings.postgres_bin_dir, settings=limits) as postgres:
        yield postgres.url, postgres

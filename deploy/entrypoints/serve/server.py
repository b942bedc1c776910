"""Run the processes of `fastdeploy serve` and `fastdeploy worker` once their database is available."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
import uvloop

from deploy.adapters.database import without_password
from deploy.adapters.postgres import PostgresError, PostgresServer
from deploy.adapters.service_folders.processes import Checkers
from deploy.adapters.tokens import load as load_tokens
from deploy.config import Settings
from deploy.entrypoints.app_state import AppState, create_app_state, running
from deploy.entrypoints.connections.config import WebConfig, limit_unsent
from deploy.entrypoints.fastapi_app import create_app
from deploy.entrypoints.serve.background import background
from deploy.entrypoints.serve.first_user import FirstSteps, prepare_first_user
from deploy.entrypoints.serve.foreground import ServeOptions
from deploy.entrypoints.serve.known_servers import record_of, recorded
from deploy.entrypoints.serve.memory import collect_from_now_on
from deploy.entrypoints.serve.pools import pool_size
from deploy.entrypoints.serve.startup import (
    finish_loading,
    finish_sync,
    prepare_database,
    warn_of_too_few_connections,
)
from deploy.entrypoints.serve.worker import create_worker

log = logging.getLogger(__name__)

CHECK_DATABASE_EVERY = 0.5


def run(
    settings: Settings,
    options: ServeOptions,
    listening: socket.socket,
    url: str,
    postgres: PostgresServer | None,
    checkers: Checkers,
    announce: Callable[[str, FirstSteps], None],
) -> None:
    """Run the web server, the live channel, and a worker until SIGTERM or SIGINT. The database must be available.

    Raises:
        ConfigurationError: The server cannot start. The message says what to do.
    """
    uvloop.run(_serve(settings, options, listening, url, postgres, checkers, announce))


async def _serve(
    settings: Settings,
    options: ServeOptions,
    listening: socket.socket,
    url: str,
    postgres: PostgresServer | None,
    checkers: Checkers,
    announce: Callable[[str, FirstSteps], None],
) -> None:
    address = _address(listening)
    state = create_app_state(settings, url, pool_size=pool_size(options.workers), checkers=checkers)
    leads = options.inherited is None
    syncing = await prepare_database(state) if leads else None
    if leads:
        await warn_of_too_few_connections(state, options.workers)
    async with running(state), contextlib.AsyncExitStack() as stack:
        if syncing is not None:
            await stack.enter_async_context(background(finish_sync(syncing)))
        if postgres is not None:
            await stack.enter_async_context(background(_keep_alive(postgres)))
        if options.with_worker:
            worker, tasks = create_worker(state, settings, api_url=address)
            await stack.enter_async_context(background(worker.run(), tasks.run()))
        for _ in range(options.workers - 1 if leads else 0):
            await stack.enter_async_context(background(_keep_sibling(settings, options.workers, listening)))
        first_steps = FirstSteps()
        if leads:
            stack.enter_context(recorded(settings.data_dir, record_of(settings)))
            # Do this last, so that a failed start does not generate a password that is never shown.
            first_steps = await prepare_first_user(state)
        announce(address, first_steps)
        await _answer(state, settings, listening)


async def _answer(state: AppState, settings: Settings, listening: socket.socket) -> None:
    limit_unsent(listening)
    config = WebConfig(create_app(settings, ready=state), settings)
    server = QuietServer(config)
    loop = asyncio.get_running_loop()
    for by in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(by, server.stop)
    async with background(finish_loading(state, server.answering), config.guard.run()):
        await server.serve(sockets=[listening])


class QuietServer(uvicorn.Server):
    """A server that exits with code 0 on SIGTERM and SIGINT. uvicorn's own server raises the signal again."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving."""
        await super().startup(sockets)
        self.answering.set()

    def stop(self) -> None:
        """Stop gracefully. On the second call, stop immediately."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signal handling to `loop.add_signal_handler`."""
        yield


async def _keep_alive(postgres: PostgresServer) -> None:
    """Restart the bundled PostgreSQL if it exits. PostgreSQL must be started from the main thread, which this is."""
    while True:
        await asyncio.sleep(CHECK_DATABASE_EVERY)
        if postgres.poll() is None:
            continue
        log.warning("The bundled PostgreSQL exited (%s); restarting it", postgres.poll())
        try:
            postgres.start()
        except PostgresError as error:
            log.error("%s", error)  # noqa: TRY400 - the message is complete


async def _keep_sibling(settings: Settings, workers: int, listening: socket.socket) -> None:
    """Keep another web server process running on the same socket."""
    command = [sys.executable, "-m", "deploy", "serve", "--no-worker", "--listen-fd", str(listening.fileno())]
    command += ["--data-dir", str(settings.data_dir), "--services-dir", str(settings.services_root)]
    command += ["--workers", str(workers)]  # determines the size of its connection pool
    while True:
        process = subprocess.Popen(command, pass_fds=[listening.fileno()])  # noqa: ASYNC220 - returns at once
        try:
            while process.poll() is None:  # noqa: ASYNC110 - on 3.10 asyncio would take threads for it
                await asyncio.sleep(CHECK_DATABASE_EVERY)
        finally:
            process.terminate()  # does nothing if it has already exited
        log.warning("A web server process exited (%s); starting another", process.returncode)


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


async def work(settings: Settings, url: str, announce: Callable[[str], None]) -> None:
    """Run `fastdeploy worker` until SIGTERM or SIGINT. Active runs then continue without it.

    Raises:
        ConfigurationError: The deploy user owns the data folder.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for by in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(by, stopped.set)
    state = create_app_state(settings, url)
    await warn_of_too_few_connections(state, 1)
    async with running(state):
        worker, tasks = create_worker(state, settings, api_url=settings.api_url or "http://127.0.0.1:8000")
        async with background(worker.run(), tasks.run()):
            announce(f"Worker connected to {without_password(url)}")
            await asyncio.to_thread(load_tokens)
            collect_from_now_on()
            await stopped.wait()

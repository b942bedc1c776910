"""The commands `serve` and `worker`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.entrypoints.cli.settings import DataDir, ServicesDir, require_database, settings_from, worker_settings
from deploy.entrypoints.serve.memory import prepare_for_long

if TYPE_CHECKING:
    from deploy.entrypoints.serve.first_user import FirstSteps


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(worker)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    data_dir: DataDir = None,
    services_dir: ServicesDir = None,
    worker: Annotated[bool, typer.Option(help="Run a worker in this process.")] = True,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Number of web server processes.")] = 1,
    listen_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run fastDeploy in the foreground: database, web page, API and a worker."""
    prepare_for_long()
    from deploy.entrypoints.serve.foreground import ServeOptions
    from deploy.entrypoints.serve.foreground import serve as run
    from deploy.entrypoints.serve.standard_streams import open_missing

    open_missing()

    settings = settings_from(data_dir, services_dir)
    options = ServeOptions(host=host, port=port, with_worker=worker, workers=workers, inherited=listen_fd)
    run(settings, options, _quiet if listen_fd is not None else _announce)


def worker(
    data_dir: DataDir = None,
    services_dir: ServicesDir = None,
    slots: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Maximum number of deployments to run at once. Overrides WORKER_SLOTS."),
    ] = None,
) -> None:
    """Run only a worker, on this machine or another."""
    prepare_for_long()
    import uvloop

    from deploy.config import prepare_data_dir

    settings = worker_settings(data_dir, services_dir, worker_slots=slots)
    from deploy.entrypoints.serve.server import work  # takes long, so report invalid settings first

    url = require_database(settings)
    prepare_data_dir(settings)
    uvloop.run(work(settings, url, typer.echo))


def _announce(address: str, first_steps: FirstSteps) -> None:
    from deploy.entrypoints.serve.first_user import show_first_steps

    show_first_steps(first_steps, before=f"\n  fastDeploy is ready: {address}/\n\n")


def _quiet(_address: str, _first_steps: FirstSteps) -> None:
    return

"""Run all development processes: database, API with reload, worker, and Vite.

Ctrl-C stops them all. If one process ends, the others are stopped as well.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deploy.config import Settings, prepare_data_dir, secret_key
from deploy.entrypoints.app_state import create_app_state
from deploy.entrypoints.serve.first_user import FirstSteps, prepare_first_user, show_first_steps
from deploy.entrypoints.serve.foreground import database
from deploy.entrypoints.serve.settings import load_settings
from deploy.entrypoints.serve.startup import prepare_database

ROOT = Path(__file__).parents[1]
API = "http://127.0.0.1:8000"
COMMANDS = {
    "api": [
        sys.executable,
        "-m",
        "uvicorn",
        "--reload",
        "--reload-dir",
        "deploy",
        "deploy.entrypoints.fastapi_app:app",
    ],
    "worker": [sys.executable, "-m", "deploy", "worker"],
    "vite": ["frontend/node_modules/.bin/vite", "frontend", "--config", "frontend/vite.dev.config.ts"],
}
STOP_TIMEOUT = 15.0  # seconds


async def prepare(settings: Settings, url: str) -> FirstSteps:
    """Upgrade the database once, before two processes try to. Return how to sign in."""
    state = create_app_state(settings, url)
    try:
        await prepare_database(state)
        return await prepare_first_user(state)
    finally:
        await state.database.close()


def start(url: str, settings: Settings) -> dict[str, subprocess.Popen[bytes]]:
    """Start all processes, each in its own session, so that Ctrl-C only signals this process."""
    env = {
        **os.environ,
        "DATABASE_URL": url,
        "SECRET_KEY": secret_key(settings),
        "DATA_DIR": str(settings.data_dir.absolute()),
        "SERVICES_ROOT": str(settings.services_root.absolute()),
        "API_URL": settings.api_url or API,
        "API_TARGET": API,
    }
    return {
        name: subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True)
        for name, command in COMMANDS.items()
    }


def stop(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Stop all processes. Kill those that do not stop in time."""
    for process in processes.values():
        process.terminate()
    for name, process in processes.items():
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            print(f"{name} did not stop within {STOP_TIMEOUT:g} s; killing it", file=sys.stderr)
            process.kill()


def main() -> int:
    """Run until interrupted or until one of the processes ends. Return the exit code."""
    settings = load_settings()
    prepare_data_dir(settings)
    # Handle SIGTERM like Ctrl-C, so that the database shuts down cleanly.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with database(settings) as (url, _):
        show_first_steps(asyncio.run(prepare(settings, url)), before="\n")
        processes = start(url, settings)
        try:
            while all(process.poll() is None for process in processes.values()):
                time.sleep(0.2)
            ended = [name for name, process in processes.items() if process.poll() is not None]
            print(f"{', '.join(ended)} exited; stopping the other processes", file=sys.stderr)
        except KeyboardInterrupt:
            return 0
        finally:
            stop(processes)
    return 1


if __name__ == "__main__":
    sys.exit(main())

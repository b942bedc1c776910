#!/usr/bin/env python3
"""Serve a website on this machine only: `server.py start --home DIR --port N` and `server.py stop --home DIR`.

The running server holds a lock on DIR/server.pid, so a leftover file is never mistaken for a running server.
"""

import argparse
import fcntl
import functools
import http.server
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the files in `current/public`. `/health` returns which website this is."""

    def do_GET(self) -> None:
        if self.path != "/health":
            super().do_GET()
            return
        body = json.dumps({"home": str(Path(self.directory).parent.parent), "pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def lock(home: Path) -> "int | None":
    """Lock the PID file and return its descriptor, or None while a server is running."""
    file = os.open(home / "server.pid", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def stop(home: Path) -> None:
    file = lock(home)
    if file is not None:
        print("No server is running.")
        return
    os.kill(int((home / "server.pid").read_text()), signal.SIGTERM)
    for _ in range(100):
        if lock(home) is not None:
            print("The server was stopped.")
            return
        time.sleep(0.05)
    sys.exit("The old server did not stop within 5 s.")


def serve(home: Path, port: int) -> None:
    """Serve until stopped. Print `ready` once the port is open, or exit with the reason."""
    file = lock(home)
    if file is None:
        sys.exit("Another server is already running.")
    handler = functools.partial(Handler, directory=str(home / "current" / "public"))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        sys.exit(f"Port {port} is not available: {error.strerror}.")
    os.truncate(file, 0)
    os.write(file, str(os.getpid()).encode())
    print("ready", flush=True)
    # Close the pipe to the deployment. Otherwise, the deployment would not end while this server runs.
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    server.serve_forever()


def start(home: Path, port: int) -> None:
    """Start the server in the background and wait until it accepts requests."""
    log = (home / "server.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, __file__, "serve", "--home", str(home), "--port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
        cwd="/",
    )
    if process.stdout is None or process.stdout.readline() != b"ready\n":
        sys.exit(f"The server did not start. See {home / 'server.log'}.")
    print(f"The server is running as process {process.pid}.")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["start", "stop", "serve"])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    if arguments.command == "stop":
        stop(arguments.home)
    elif arguments.command == "start":
        start(arguments.home, arguments.port)
    else:
        serve(arguments.home, arguments.port)


if __name__ == "__main__":
    main()

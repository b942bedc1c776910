#!/usr/bin/env python3
"""A website on this machine alone: `server.py start --home DIR --port N` and `server.py stop --home DIR`.

The running server holds a lock on DIR/server.pid, so a number in an old file is never taken for a running server.
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
    """The pages below `current/public`, and at `/health` whose server this is."""

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
    """The locked file, None while a server runs."""
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
        print("no server is running")
        return
    os.kill(int((home / "server.pid").read_text()), signal.SIGTERM)
    for _ in range(100):
        if lock(home) is not None:
            print("the server is stopped")
            return
        time.sleep(0.05)
    sys.exit("The old server does not stop.")


def serve(home: Path, port: int) -> None:
    """Runs until it is stopped; says `ready`, or why not, on standard output."""
    file = lock(home)
    if file is None:
        sys.exit("Another server is running.")
    handler = functools.partial(Handler, directory=str(home / "current" / "public"))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        sys.exit(f"Port {port} cannot be used: {error.strerror}.")
    os.truncate(file, 0)
    os.write(file, str(os.getpid()).encode())
    print("ready", flush=True)
    # From here on nobody listens: a daemon that keeps the pipes of its deployment open would hold it up.
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    server.serve_forever()


def start(home: Path, port: int) -> None:
    """Start the server in a session of its own, and return when it answers."""
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
        sys.exit(f"The server does not start; {home / 'server.log'} says why.")
    print(f"the server runs as process {process.pid}")


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

"""The command line: `fastdeploy`."""

from deploy.entrypoints.cli.main import app, main

__all__ = ["app", "main"]

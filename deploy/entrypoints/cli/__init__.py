"""The `fastdeploy` command-line interface."""

from deploy.entrypoints.cli.main import app, main

__all__ = ["app", "main"]

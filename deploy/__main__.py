"""Entry point of `fastdeploy` and `python -m deploy`."""

from __future__ import annotations

from deploy.entrypoints.serve.memory import loading


def main() -> None:
    """Run a command."""
    with loading():
        from deploy.entrypoints.cli import main as command  # noqa: PLC0415 - slow to import, so inside loading()

    command()


if __name__ == "__main__":
    main()

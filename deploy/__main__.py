"""`fastdeploy`, which is also `python -m deploy`."""

from __future__ import annotations

from deploy.entrypoints.memory import loading


def main() -> None:
    """Run a command."""
    with loading():
        from deploy.entrypoints.cli import main as command  # noqa: PLC0415 - what takes long has to come inside

    command()


if __name__ == "__main__":
    main()

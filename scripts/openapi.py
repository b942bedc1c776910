"""Write the OpenAPI document of the routes, or check with --check that it is up to date: scripts/openapi.py FILE"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from deploy.entrypoints.fastapi_app import create_app


def main() -> None:
    """Write the file, or exit with an error if `--check` finds it out of date."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="do not write; fail if the file is out of date")
    given = parser.parse_args()
    text = json.dumps(create_app().openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if not given.check:
        given.file.write_text(text, encoding="utf-8")
    elif given.file.read_text(encoding="utf-8") != text:
        sys.exit(f"{given.file} is out of date. Update it with: just openapi")


if __name__ == "__main__":
    main()

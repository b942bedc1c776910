"""Check that the wheel contains the files it needs at run time: scripts/check_wheel.py dist"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

NEEDED = (
    "deploy/_web/index.html",
    "deploy/adapters/runs/supervisor/__main__.py",
    "deploy/adapters/ansible/callback/fastdeploy.py",
    "deploy/adapters/migrations/functions/0006_take_jobs.sql",
    "deploy/adapters/migrations/versions/0001_initial.py",
)


def main(folder: Path) -> None:
    """Exit with an error if the only wheel in the folder is incomplete."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = [name for name in NEEDED if name not in names]
    if missing:
        sys.exit(f"{wheel} does not contain {', '.join(missing)}")
    assets = sum(name.startswith("deploy/_web/assets/") for name in names)
    if not assets:
        sys.exit(f"{wheel} contains the page without its scripts")
    if not any(name.startswith("deploy/_web/assets/") and name.endswith(".js.gz") for name in names):
        sys.exit(f"{wheel} contains the page without its compressed scripts")
    print(f"{wheel}: {wheel.stat().st_size / 1e6:.1f} MB, including the page with {assets} assets")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

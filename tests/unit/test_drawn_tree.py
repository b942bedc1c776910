"""Compare the tree and the index in docs/explanation/architecture.md with the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

# They read files only, so the Python version makes no difference.
pytestmark = pytest.mark.main_python
ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## Where things are\n")[2].partition("\n## ")[0]
INDEX = SECTION.partition("### Where do I change")[2]
GENERATED = {"__pycache__", "_web"}


def drawn_folders() -> list[str]:
    """Return the folders in the drawn tree, as paths from the root of the repository."""
    stack: list[str] = []
    found = []
    for line in SECTION.split("```")[1].strip().splitlines():
        indent, name = re.fullmatch(r"( *)([\w/]+)/(?:  .*)?", line).groups()  # type: ignore[union-attr]
        depth = len(indent) // 2
        stack[depth:] = [name]
        found.append("/".join(stack))
    return found


def real_folders(folder: str) -> Iterator[str]:
    """Yield the folders below `folder` that contain files of the repository."""
    for path in sorted((ROOT / folder).rglob("*")):
        if path.is_dir() and not GENERATED & set(path.parts) and any(child.is_file() for child in path.iterdir()):
            yield str(path.relative_to(ROOT))


@pytest.mark.parametrize("folder", ["deploy", "frontend/src"])
def test_the_drawn_tree_matches_the_repository(folder: str) -> None:
    drawn = {path for path in drawn_folders() if path.startswith(f"{folder}/")}
    assert drawn == set(real_folders(folder))


def test_every_line_of_the_tree_has_a_description() -> None:
    lines = [line for line in SECTION.split("```")[1].strip().splitlines() if "  " in line.strip()]
    assert len(lines) == len(drawn_folders()) - len(["deploy/", "frontend/src/"])


def test_the_index_only_names_existing_files() -> None:
    rows = [line for line in INDEX.splitlines() if line.startswith("| ")]
    paths = [path for row in rows for path in re.findall(r"`((?:deploy|docs|frontend)/[^`]*)`", row)]
    assert len(rows) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []

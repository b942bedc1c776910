"""MkDocs hook: add the OpenAPI document to the API reference.

The page's types are generated from the same document.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

OPENAPI = Path(__file__).parents[1] / "frontend" / "openapi.json"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add frontend/openapi.json to the site as reference/openapi.json."""
    files.append(File.generated(config, "reference/openapi.json", abs_src_path=str(OPENAPI)))
    return files

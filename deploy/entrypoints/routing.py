"""Routers whose paths answer with and without a trailing slash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter


class Router(APIRouter):
    """Adds each path in both spellings. A redirect between them would lose the Authorization header."""

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Add a route, and its twin, which the API document does not list."""
        super().add_api_route(path, endpoint, **options)
        twin = path[:-1] if path.endswith("/") else f"{path}/"
        if options.get("include_in_schema", True) and self.include_in_schema:
            super().add_api_route(twin, endpoint, **{**options, "include_in_schema": False})

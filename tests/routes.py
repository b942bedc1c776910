"""List the routes of the application and what each one requires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import httpx2
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.routing import BaseRoute

from deploy.domain.policy import Action

# IDs that do not exist, so that requests do not change anything.
NUMBER, TOKEN_ID = 987654321, "0b0e7a4c-0000-4000-8000-000000000000"
PLACEHOLDERS = {
    "{service_id}": str(NUMBER),
    "{deployment_id}": str(NUMBER),
    "{user_id}": str(NUMBER),
    "{group_id}": str(NUMBER),
    "{token_id}": TOKEN_ID,
    "{session_id}": TOKEN_ID,
}
# Required parameters, of something that does not exist.
QUERIES = {"/deployments/{deployment_id}/hosts/result": {"step_id": str(NUMBER), "host": "web1"}}


@dataclass(frozen=True)
class Rule:
    """A route and the action it requires. `action` is None if the route does not require one."""

    method: str
    path: str
    action: Action | None
    documented: frozenset[int]

    @property
    def without_slash(self) -> tuple[str, str]:
        """Return the route without its trailing slash."""
        return self.method, self.path.rstrip("/") or "/"

    def request(self, client: httpx2.Client, *, deployment_id: int | None = None) -> httpx2.Response:
        """Request the route without a body."""
        path = self.path
        for placeholder, value in PLACEHOLDERS.items():
            path = path.replace(placeholder, value)
        if deployment_id is not None:
            path = path.replace(str(NUMBER), str(deployment_id))
        return client.request(self.method, path, params=QUERIES.get(self.path.rstrip("/")))


def rules_of(routes: Sequence[BaseRoute]) -> list[Rule]:
    """Return all HTTP routes below these. FastAPI keeps included routers as they are."""
    found = []
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            found += rules_of(inner.routes)
        elif isinstance(route, APIRoute):
            documented = {route.status_code or 200, 422} | {int(status) for status in route.responses}
            found += [
                Rule(method, route.path, action_of(route.dependant), frozenset(documented))
                for method in sorted(route.methods or ())
            ]
        elif not isinstance(route, APIWebSocketRoute):
            methods = sorted(set(getattr(route, "methods", None) or {"ANY"}) - {"HEAD"})
            found += [Rule(method, getattr(route, "path", "?"), None, frozenset({200})) for method in methods]
    return found


def action_of(dependant: Dependant) -> Action | None:
    """Return the action that a route requires."""
    for dependency in dependant.dependencies:
        action = getattr(dependency.call, "action", None) or action_of(dependency)
        if isinstance(action, Action):
            return action
    return None

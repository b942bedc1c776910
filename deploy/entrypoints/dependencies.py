"""The dependencies of routes: services, tokens, and access checks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.security import OAuth2PasswordBearer

from deploy.domain.errors import NotSignedIn
from deploy.domain.policy import KINDS, Action, Actor, check_role
from deploy.entrypoints.app_state import AppState

oauth2_scheme = OAuth2PasswordBearer(tokenUrl="/token", auto_error=False)


async def get_app_state(request: Request) -> AppState:
    """Return the application state of this process."""
    state: AppState = request.app.state.app_state
    return state


AppStateDep = Annotated[AppState, Depends(get_app_state)]
BearerDep = Annotated["str | None", Depends(oauth2_scheme)]


async def no_store(response: Response) -> None:
    """Prevent caching of a response that contains a token (RFC 6750, section 5.3)."""
    response.headers["Cache-Control"] = "no-store"


def client_address(request: Request) -> str:
    """Return the IP address of the client, as forwarded by trusted proxies. Empty for a Unix socket."""
    return request.client.host if request.client else ""


def require(action: Action) -> Any:
    """Return a dependency that checks that the token type and the role allow `action`, and that returns the actor.

    Every route must use it, which a test over all routes enforces. A route about an object then either loads the
    object through `service_layer/authorization` or executes a command. Both also check access to the object.
    """

    async def actor(state: AppStateDep, token: BearerDep) -> Actor:
        if not token:
            raise NotSignedIn("Not authenticated")
        authenticated = await state.authenticator.authenticate(token, KINDS[action])
        check_role(authenticated, action)
        return authenticated

    actor.action = action  # type: ignore[attr-defined]  # for the test of all routes
    return Depends(actor)

"""Who is asking, and with what: the annotated dependencies of every route."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.security import OAuth2PasswordBearer

from deploy.domain.errors import NotSignedIn
from deploy.domain.policy import KINDS, Action, Actor, check
from deploy.entrypoints.state import Services

oauth2_scheme = OAuth2PasswordBearer(tokenUrl="/token", auto_error=False)


async def get_services(request: Request) -> Services:
    """Return the parts of this process."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]
BearerDep = Annotated["str | None", Depends(oauth2_scheme)]


async def no_store(response: Response) -> None:
    """Keep an answer that holds a token out of every cache (RFC 6750, section 5.3)."""
    response.headers["Cache-Control"] = "no-store"


def client_address(request: Request) -> str:
    """Return the IP address of the client, as a trusted proxy forwards it; empty on a Unix socket."""
    return request.client.host if request.client else ""


def require(action: Action) -> Any:
    """Return the dependency that lets a request through if its token allows `action`, and says who is asking.

    Every route names one; a test generated from the routes fails for a route that names none.
    """

    async def actor(services: ServicesDep, token: BearerDep) -> Actor:
        if not token:
            raise NotSignedIn("Not authenticated")
        known = await services.authenticator.authenticate(token, KINDS[action])
        check(known, action)
        return known

    actor.action = action  # type: ignore[attr-defined]  # what the test of the routes reads
    return Depends(actor)

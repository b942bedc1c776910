"""Report startup errors to another web server as a message instead of a traceback."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.adapters.postgres import PostgresError
from deploy.adapters.runs.start import UnknownUser
from deploy.config import ConfigurationError
from deploy.domain.errors import DomainError

EXPLAINED = (ConfigurationError, PostgresError, UnknownUser, DomainError)


class StartErrors:
    """Middleware that replaces the traceback of a failed startup with its message, for errors in EXPLAINED."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward everything except the framework's report of a failed startup, which is a traceback."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        held: list[Message] = []

        async def hold_failure(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                held.append(message)
            else:
                await send(message)

        try:
            await self._app(scope, receive, hold_failure)
        except EXPLAINED as error:
            await send({"type": "lifespan.startup.failed", "message": f"Error: {error}"})
        except BaseException:
            for message in held:
                await send(message)
            raise

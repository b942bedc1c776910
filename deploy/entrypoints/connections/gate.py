"""The interface that the application uses to report sign-ins to the WebSocket protocol, and to send many messages.

Small because routes import it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol, cast

from starlette.types import Scope

GATE = "fastdeploy.sign_in_gate"


class SignInGate(Protocol):
    """A WebSocket that counts as waiting until its client signs in."""

    def await_sign_in(self, host: str | None) -> None:
        """Count the connection for the client's address. Behind a proxy, only the application knows this address."""

    def signed_in(self) -> None:
        """Stop counting the connection."""

    async def send_texts(self, messages: Sequence[str]) -> None:
        """Send messages in order, once the client has read enough of the earlier ones.

        Raises:
            OSError: The client has disconnected.
        """


def sign_in_gate(scope: Scope) -> SignInGate | None:
    """Return the gate of a connection, or None if the application runs in a different server."""
    return cast("SignInGate | None", scope.get("state", {}).get(GATE))


def authentication_answer(status: str, detail: str) -> str:
    """Return the message that answers a sign-in on the WebSocket."""
    return json.dumps({"type": "authentication", "status": status, "detail": detail})

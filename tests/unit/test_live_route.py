"""The parts of the WebSocket's route that can be had without one."""

from __future__ import annotations

import time
from typing import cast

from fastapi import WebSocket

from deploy.adapters.websocket import Client
from deploy.domain.policy import Actor, Kind
from deploy.entrypoints.routers.live import SEND_WITHIN, TRY_AGAIN, _watch_session
from deploy.entrypoints.state import Services


async def test_whoever_takes_nothing_any_more_is_asked_to_come_again() -> None:
    client = Client(Actor(kind=Kind.USER, expires=time.time() + 3600), "token")
    client.sending_since = time.monotonic() - SEND_WITHIN - 1
    # Neither is asked: nothing could be sent to him.
    nothing = object()
    assert await _watch_session(cast("WebSocket", nothing), cast("Services", nothing), client) == TRY_AGAIN

"""Configure uvicorn for `fastdeploy serve`."""

from __future__ import annotations

import contextlib
import socket
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from deploy.config import Settings
from deploy.entrypoints.connections.guard import ConnectionGuard, ConnectionLimits
from deploy.entrypoints.connections.http import HttpProtocol
from deploy.entrypoints.connections.websocket import MESSAGE_BYTES, WebSocketProtocol

SHUTDOWN_SECONDS = 5
# Unsent data that the kernel buffers for a client. Without a limit, it buffers megabytes, and the server notices late
# that a client is not reading.
UNSENT_BYTES = 128 * 1024


class WebConfig(uvicorn.Config):
    """The configuration for the protocols, with this process's connection guard."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            app,
            http=HttpProtocol,
            ws=WebSocketProtocol,
            ws_max_size=MESSAGE_BYTES,
            # Compressing each small message for each client would cut the throughput by more than half.
            ws_per_message_deflate=False,
            lifespan="off",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            server_header=False,
        )
        trusted = ProxyHeadersMiddleware(cast("Any", app), self.forwarded_allow_ips).trusted_hosts
        self.guard = ConnectionGuard(ConnectionLimits.of(settings), trusted)


def limit_unsent(listening: socket.socket) -> None:
    """Limit how much the kernel buffers for each client of a listening socket, if supported."""
    with contextlib.suppress(OSError, AttributeError):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

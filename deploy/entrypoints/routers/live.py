"""The WebSocket: after a client signs in, every change is sent as one JSON object."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from deploy.adapters.database import DATABASE_ERRORS
from deploy.adapters.websocket import Client
from deploy.domain.errors import DomainError, NotSignedIn
from deploy.domain.policy import KINDS, Action, Actor
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.connections.gate import authentication_answer, sign_in_gate
from deploy.service_layer.live import warning
from deploy.service_layer.sharing import BURST

PING_EVERY = 20.0
WARN_BEFORE = 60.0
SEND_WITHIN = 60.0
# How much is sent at once. More would only wait in the buffer of the connection.
SENT_TOGETHER, SENT_CHARACTERS = 200, 32 * 1024
POLICY_VIOLATION, TRY_AGAIN = 1008, 1013

router = APIRouter()


@router.websocket("/deployments/ws/{client_id}")
async def live(websocket: WebSocket, client_id: UUID) -> None:  # noqa: ARG001 - only validated
    """Serve one client until it disconnects, its session ends, or it stops reading."""
    state: AppState = websocket.app.state.app_state
    if not origin_is_allowed(websocket, state.settings.allowed_origins):
        await websocket.close(POLICY_VIOLATION)
        return
    gate = sign_in_gate(websocket.scope)
    if gate is not None:
        gate.await_sign_in(websocket.client.host if websocket.client else None)
    await websocket.accept()
    try:
        client = await asyncio.wait_for(_sign_in(websocket, state), state.settings.sign_in_timeout_seconds)
    except (asyncio.TimeoutError, WebSocketDisconnect):
        await _close(websocket, POLICY_VIOLATION, "Sign-in timed out.")
        return
    if gate is not None:
        gate.signed_in()
    try:
        await _serve(websocket, state, client)
    finally:
        state.hub.remove(client)


def origin_is_allowed(websocket: WebSocket, allowed: list[str]) -> bool:
    """Return True if the client is our own page, a page of an allowed origin, or not a browser."""
    origin = websocket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == websocket.headers.get("host") or origin in allowed


async def _sign_in(websocket: WebSocket, state: AppState) -> Client:
    while True:
        fields = await _receive(websocket)
        try:
            actor = await _authenticate(str(fields.get("access_token") or ""), state)
        except NotSignedIn as error:
            await websocket.send_text(authentication_answer("failure", str(error)))
            continue
        client = Client(actor, str(fields["access_token"]))
        try:
            # Join before answering, so that the client does not miss anything that happens after the answer.
            await state.feed.join(client)
            await websocket.send_text(authentication_answer("success", f"Signed in as {actor.name}"))
        except BaseException:
            state.hub.remove(client)  # otherwise, its queue would leak
            raise
        return client


async def _authenticate(token: str, state: AppState) -> Actor:
    if not token:
        raise NotSignedIn("Not authenticated")
    return await state.authenticator.authenticate(token, KINDS[Action.LIST_DEPLOYMENTS])


async def _receive(websocket: WebSocket) -> dict[str, Any]:
    try:
        text = await websocket.receive_text()
    except KeyError:
        return {}  # a binary message
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    return fields if isinstance(fields, dict) else {}


async def _serve(websocket: WebSocket, state: AppState, client: Client) -> None:
    tasks = [asyncio.create_task(part(websocket, state, client)) for part in (_send, _listen, _watch_session)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    code = next((task.result() for task in done if not task.cancelled() and task.exception() is None), TRY_AGAIN)
    await _close(websocket, code)


async def _send(websocket: WebSocket, state: AppState, client: Client) -> int:
    """Send the outbox. When it is empty, read events that the client has not received yet."""
    is_catching_up = False
    gate = sign_in_gate(websocket.scope)
    while True:
        # Do not use a timeout here: it would cost more than sending. The protocol closes connections that do not read.
        sent = 0
        while messages := _next_messages(client, BURST - sent % BURST if is_catching_up else SENT_TOGETHER):
            if is_catching_up and sent % BURST == 0:
                await state.turns.wait()
            sent += len(messages)
            if gate is not None:
                await gate.send_texts(messages)
                continue
            for message in messages:
                await websocket.send_text(message)
        is_catching_up = bool(client.behind)
        if client.behind:
            try:
                await state.feed.catch_up(client, next(iter(client.behind)))
            except DATABASE_ERRORS:
                await asyncio.sleep(0.5)
            continue
        client.wake.clear()
        if not client.behind and client.is_empty:
            await client.wake.wait()


def _next_messages(client: Client, limit: int) -> list[str]:
    """Take messages to send together: up to `limit`, or until they reach SENT_CHARACTERS."""
    messages: list[str] = []
    characters = 0
    while len(messages) < limit and characters < SENT_CHARACTERS and (message := client.take()) is not None:
        messages.append(message)
        characters += len(message)
    return messages


async def _listen(websocket: WebSocket, state: AppState, client: Client) -> int:
    """Process messages from the client: new tokens, subscriptions, and the disconnect."""
    while True:
        try:
            fields = await _receive(websocket)
        except WebSocketDisconnect:
            return 1000
        if "access_token" in fields:
            await _renew(state, client, str(fields["access_token"]))
        elif "subscribe" in fields:
            await _subscribe(state, client, fields["subscribe"])
        elif "unsubscribe" in fields and isinstance(fields["unsubscribe"], dict):
            client.unsubscribe(_number(fields["unsubscribe"].get("deployment_id")))
        elif "ping" not in fields:
            client.put(warning("Unknown message.", "not_understood"))


async def _renew(state: AppState, client: Client, token: str) -> None:
    try:
        actor = await _authenticate(token, state)
    except NotSignedIn as error:
        client.put(authentication_answer("failure", str(error)))
        return
    except DATABASE_ERRORS:
        client.put(authentication_answer("failure", "The database cannot be reached; try again in a moment."))
        return
    if actor.user_id != client.actor.user_id:
        client.put(authentication_answer("failure", "This connection belongs to another user. Open a new connection."))
        return
    client.actor, client.token = actor, token
    client.put(authentication_answer("success", f"Signed in as {actor.name}"))


async def _subscribe(state: AppState, client: Client, wanted: object) -> None:
    fields = wanted if isinstance(wanted, dict) else {}
    deployment_id, after = _number(fields.get("deployment_id")), _number(fields.get("after"))
    try:
        await state.feed.subscribe(client, deployment_id, after)
    except DomainError as error:
        client.put(warning(str(error), "not_found"))
    except DATABASE_ERRORS:
        client.put(warning("The database cannot be reached; subscribe again in a moment.", "try_again"))


async def _watch_session(websocket: WebSocket, state: AppState, client: Client) -> int:
    """Send pings, warn before the session ends, and close the connection when its token expires or is revoked."""
    warned_for = ""
    while True:
        left = client.actor.expires - time.time()
        if left <= 0:
            return await _end_session(websocket, "Your session has ended. Sign in again.")
        if left <= WARN_BEFORE and warned_for != client.token:
            warned_for = client.token
            client.put(warning("Your session is about to end.", "token_expires"))
        timeout = min(PING_EVERY, left if left <= WARN_BEFORE else left - WARN_BEFORE)
        try:
            await asyncio.wait_for(client.rights_changed.wait(), timeout)
        except asyncio.TimeoutError:
            client.put('{"type": "ping"}')
        client.rights_changed.clear()
        try:
            await _refresh_rights(state, client)
        except NotSignedIn:
            return await _end_session(websocket, "Your session has ended. Sign in again.")
        except DATABASE_ERRORS:
            continue


async def _refresh_rights(state: AppState, client: Client) -> None:
    before = client.actor.rights
    client.actor = await _authenticate(client.token, state)
    if client.actor.rights != before:
        await state.feed.show_rights(client, before.visible)


async def _end_session(websocket: WebSocket, why: str) -> int:
    await asyncio.wait_for(websocket.send_text(warning(why, "session_ended")), SEND_WITHIN)
    return POLICY_VIOLATION


async def _close(websocket: WebSocket, code: int, reason: str | None = None) -> None:
    try:
        await websocket.close(code, reason)
    except (RuntimeError, WebSocketDisconnect):
        return  # the client has already closed it


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**63 else 0

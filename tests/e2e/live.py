"""A WebSocket client that collects the messages it receives."""

import json
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.e2e.waiting import TIMEOUT

Message = dict[str, Any]
LARGEST = 16 << 20
# RFC 6455's code for a connection that ended without a close frame.
ABNORMAL = 1006


class Live:
    """One connection to `/deployments/ws/{client_id}`. It only reads messages while it waits for one."""

    def __init__(self, base_url: str, *, origin: str | None = None, client_id: str | None = None) -> None:
        url = f"{base_url.replace('http', 'ws', 1)}/deployments/ws/{client_id or uuid.uuid4()}"
        self.messages: list[Message] = []
        self._stack = ExitStack()
        opening = connect(
            url, origin=Origin(origin) if origin else None, max_size=LARGEST, proxy=None, open_timeout=TIMEOUT
        )
        self._connection = self._stack.enter_context(opening)

    def __enter__(self) -> "Live":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sign_in(self, token: str) -> Message:
        """Send a token and return the response."""
        answers = len(self.of_type("authentication"))
        self.send({"access_token": token})
        self.wait_for(lambda _: len(self.of_type("authentication")) > answers)
        return self.of_type("authentication")[answers]

    def send(self, message: object) -> None:
        """Send a message as JSON, or a string as is."""
        self._connection.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    def subscribe(self, deployment_id: int, after: int = 0) -> None:
        """Subscribe to everything about a deployment, including its output."""
        self.send({"subscribe": {"deployment_id": deployment_id, "after": after}})

    def unsubscribe(self, deployment_id: int) -> None:
        """Go back to receiving state changes only."""
        self.send({"unsubscribe": {"deployment_id": deployment_id}})

    def wait_for(self, wanted: Callable[[Message], object], timeout: float = TIMEOUT) -> Message:
        """Return the first message that `wanted` accepts.

        It is either already collected or arrives within `timeout` seconds.
        """
        deadline, seen = time.monotonic() + timeout, 0
        while True:
            for message in self.messages[seen:]:
                if wanted(message):
                    return message
            seen = len(self.messages)
            try:
                self._receive(deadline - time.monotonic())
            except TimeoutError:
                raise AssertionError(f"the message did not arrive; the last ones: {self.messages[-20:]}") from None

    def wait_for_count(self, kind: str, count: int) -> Message:
        """Wait for `count` messages of a type and return the last one."""
        self.wait_for(lambda _: len(self.of_type(kind)) >= count)
        return self.of_type(kind)[count - 1]

    def wait_for_state(self, deployment_id: int, *states: str) -> Message:
        """Return the message that reports a deployment in one of these states (default: any final state)."""
        wanted = states or ("success", "failure", "cancelled")
        return self.wait_for(
            lambda message: (
                message["type"] == "deployment" and message["id"] == deployment_id and message["state"] in wanted
            )
        )

    def wait_until_closed(self, timeout: float = TIMEOUT) -> int:
        """Collect messages until the server closes the connection. Return the close code."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._receive(deadline - time.monotonic())
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd is not None else ABNORMAL

    def is_silent(self) -> bool:
        """Return True if no message arrives before the server answers a ping that is sent now."""
        before = len(self.messages)
        pong = self._connection.ping()
        while not pong.wait(0.01):
            self._drain()
        self._drain()
        return len(self.messages) == before

    def of_type(self, *kinds: str) -> list[Message]:
        """Return the collected messages of these types."""
        return [message for message in self.messages if message["type"] in kinds]

    def about(self, deployment_id: int) -> list[Message]:
        """Return the collected messages about a deployment, its steps, and its output, in order."""
        return [message for message in self.messages if message.get("deployment_id") == deployment_id]

    def transcript(self, deployment_id: int) -> list[Message]:
        """Return the messages about a deployment since the last subscription that started from the beginning."""
        messages_about = self.about(deployment_id)
        begin = max((index for index, message in enumerate(messages_about) if message["seq"] == 1), default=0)
        return messages_about[begin:]

    def wait_for_transcript(self, deployment_id: int, length: int) -> list[Message]:
        """Return the transcript once it has `length` messages."""
        self.wait_for(lambda _: len(self.transcript(deployment_id)) >= length)
        return self.transcript(deployment_id)

    def close(self) -> None:
        """Close the connection."""
        self._stack.close()

    def _drain(self) -> None:
        try:
            while True:
                self._receive(0)
        except TimeoutError:
            return

    def _receive(self, timeout: float) -> None:
        message = json.loads(self._connection.recv(max(timeout, 0)))
        assert isinstance(message, dict)
        self.messages.append(message)

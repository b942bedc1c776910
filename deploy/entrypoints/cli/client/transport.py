"""Send HTTP requests to a server and raise errors that users can act on."""

from __future__ import annotations

import socket
import ssl
from datetime import datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from deploy.entrypoints.cli.client.address import is_loopback
from deploy.entrypoints.cli.client.errors import (
    ClientError,
    InvalidValues,
    NeverConnected,
    NotSignedIn,
    Refused,
    Unavailable,
    Unreachable,
    UsageError,
)
from deploy.entrypoints.cli.client.text import one_line, utc_now

if TYPE_CHECKING:
    import httpx2

CONNECT_TIMEOUT, RESPONSE_TIMEOUT = 10.0, 30.0
RETRY_STATUSES = frozenset({429, 502, 503, 504})
# Ignore smaller differences, because the Date header does not have fractions of a second.
CLOCK_TOLERANCE_SECONDS = 2.0


class Transport:
    """Sends requests to the server at `url`.

    Use proxies from the environment, except for this machine. Do not follow redirects, because they could send a token
    to another server.
    """

    def __init__(self, url: str) -> None:
        import httpx2

        self.url = url
        self.trusts_environment = not is_loopback(url)
        self.tls = _tls(url)
        self.clock_offset_seconds = 0.0
        self._client = httpx2.Client(
            base_url=url,
            verify=self.tls,
            trust_env=self.trusts_environment,
            timeout=httpx2.Timeout(RESPONSE_TIMEOUT, connect=CONNECT_TIMEOUT),
            headers={"User-Agent": user_agent(), "Accept": "application/json"},
        )

    def send(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx2.Response:
        """Return the response, whatever its status, unless the server asks to retry.

        Raises:
            Unreachable: No response was received.
            NeverConnected: The request was not sent.
            Unavailable: The status is 429, 502, 503, or 504.
            UsageError: A value is not valid text.
        """
        import httpx2

        try:
            response = self._client.request(method, path, json=json, params=params, headers=headers)
        except httpx2.HTTPError as error:
            raise _connection_error(error, self.url) from error
        except UnicodeEncodeError as error:
            raise UsageError("A value is not valid text: it contains bytes that are not UTF-8.") from error
        self._compare_clocks(response.headers.get("date"))
        if response.status_code in RETRY_STATUSES:
            raise Unavailable(_unavailable_message(response, self.url), _retry_after(response))
        return response

    def _compare_clocks(self, date: str | None) -> None:
        try:
            there: datetime = parsedate_to_datetime(date or "")
        except ValueError:
            return
        offset = (there - utc_now()).total_seconds()
        self.clock_offset_seconds = offset if abs(offset) > CLOCK_TOLERANCE_SECONDS else 0.0


def user_agent() -> str:
    """Return the User-Agent header."""
    return f"fastdeploy/{version('fastdeploy-server')}"


def parse_response(response: httpx2.Response, url: str) -> Any:
    """Return the JSON of a successful response, or None if the response does not have a body.

    Raises:
        NotSignedIn: The status is 401.
        InvalidValues: Values do not match the inputs of the service.
        Refused: The status is another error or a redirect, or the body is not JSON.
    """
    status = response.status_code
    if status == 401:
        raise NotSignedIn(error_message(response))
    if response.is_redirect:
        raise Refused(f"{url} redirects to {response.headers.get('location')}. Use that URL instead.", status)
    if status == 422 and (faults := _faults(response)):
        raise InvalidValues(faults)
    if not response.is_success:
        raise Refused(error_message(response), status)
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError as error:
        raise Refused(f"{url} does not look like a fastDeploy server.", status) from error


def _faults(response: httpx2.Response) -> dict[str, str]:
    """Return messages about invalid values by input name. Return an empty dict for other kinds of errors."""
    try:
        detail = response.json()["detail"]
        found = [(fault["loc"][1:], one_line(str(fault["msg"]))) for fault in detail if fault["type"] == "input"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {".".join(map(str, loc[1:] if loc[:1] == ["env"] else loc)): message for loc, message in found}


def error_message(response: httpx2.Response) -> str:
    """Return the `detail` of an error response, or a message with its status."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"The server returned {response.status_code} {response.reason_phrase}."
    if isinstance(detail, list):
        return "; ".join(_field_error(item) for item in detail)
    return one_line(str(detail))


def _field_error(item: Any) -> str:
    if not isinstance(item, dict):
        return one_line(str(item))
    where = ".".join(str(part) for part in item.get("loc", ())[1:])
    return one_line(f"{where}: {item.get('msg')}" if where else str(item.get("msg")))


def _unavailable_message(response: httpx2.Response, url: str) -> str:
    try:
        fields = response.json()
        detail = fields.get("detail") or " ".join(fields.get("reasons") or [])
    except (ValueError, AttributeError, TypeError):
        detail = ""
    return one_line(str(detail)) or f"{url} returned {response.status_code} {response.reason_phrase}. Try again later."


def _retry_after(response: httpx2.Response) -> float:
    try:
        return min(60.0, max(0.0, float(response.headers.get("retry-after", "1"))))
    except ValueError:
        return 5.0  # a date, which is rare; not worth comparing clocks


def _tls(url: str) -> ssl.SSLContext:
    import httpx2

    if url.startswith("http://") and is_loopback(url):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused, and loading certificates is slow
    return httpx2.create_ssl_context()


def _connection_error(error: httpx2.HTTPError, url: str) -> ClientError:
    import httpx2

    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol)):
        return NeverConnected(_no_connection(error, url))
    if isinstance(error, httpx2.TimeoutException):
        return Unreachable(f"{url} did not respond within {RESPONSE_TIMEOUT:.0f} seconds.")
    return Unreachable(f"Lost connection to {url} ({_reason(error)}).")


def _no_connection(error: Exception, url: str) -> str:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"The certificate of {url} cannot be verified: {cause.verify_message}. For a private certificate "
                "authority, set SSL_CERT_FILE to the path of its certificate."
            )
        if isinstance(cause, ssl.SSLError):
            return f"TLS connection to {url} failed ({cause.reason or cause}). Try http:// if the server does not use TLS."
        if isinstance(cause, socket.gaierror):
            return f"Could not resolve the host of {url} ({cause.strerror}). Check the URL."
    if is_loopback(url) and any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return (
            f"No server is running at {url}. Start one with: fastdeploy serve\n"
            "Or sign in to another server with: fastdeploy login URL"
        )
    return f"Could not connect to {url} ({_reason(error)})."


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


def _reason(error: BaseException) -> str:
    root = next((cause for cause in _causes(error) if isinstance(cause, OSError) and cause.strerror), error)
    return one_line(getattr(root, "strerror", None) or str(error) or type(error).__name__)

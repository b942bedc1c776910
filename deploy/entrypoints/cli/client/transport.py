"""One server over HTTP: requests out, answers or a telling error in."""

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
    NeverConnected,
    NotSignedIn,
    Refused,
    Unavailable,
    Unreachable,
    WrongAnswers,
    WrongUsage,
)
from deploy.entrypoints.cli.client.text import one_line, utc_now

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 30.0
COME_BACK = frozenset({429, 502, 503, 504})
# A clock that is wrong by less is not worth correcting: the header has no fractions.
CLOCK_TOLERANCE_SECONDS = 2.0


class Transport:
    """Sends requests to the server at `url`.

    Proxies from the environment are used, but never for this very machine. Redirects are not followed: they would
    carry a token to who knows where.
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
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
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
        """Return the answer, whatever its status, unless it asks to come back.

        Raises:
            Unreachable: no answer came. NeverConnected: the request was not even sent.
            Unavailable: 429, 502, 503, 504.
            WrongUsage: it cannot be sent.
        """
        import httpx2

        try:
            response = self._client.request(method, path, json=json, params=params, headers=headers)
        except httpx2.HTTPError as error:
            raise _told(error, self.url) from error
        except UnicodeEncodeError as error:
            raise WrongUsage("Something that was given is no text: it has bytes that are not UTF-8.") from error
        self._compare_clocks(response.headers.get("date"))
        if response.status_code in COME_BACK:
            raise Unavailable(_busy(response, self.url), _retry_after(response))
        return response

    def _compare_clocks(self, date: str | None) -> None:
        try:
            there: datetime = parsedate_to_datetime(date or "")
        except ValueError:
            return
        offset = (there - utc_now()).total_seconds()
        self.clock_offset_seconds = offset if abs(offset) > CLOCK_TOLERANCE_SECONDS else 0.0


def user_agent() -> str:
    """Return how we introduce ourselves."""
    return f"fastdeploy/{version('fastdeploy-server')}"


def answer(response: httpx2.Response, url: str) -> Any:
    """Return the JSON of a good answer, None where it has no body.

    Raises:
        NotSignedIn: 401. Refused: any other status that is not good, or no JSON.
    """
    status = response.status_code
    if status == 401:
        raise NotSignedIn(detail(response))
    if response.is_redirect:
        raise Refused(f"{url} redirects to {response.headers.get('location')}. Use that address instead.", status)
    if status == 422 and (faults := _faults(response)):
        raise WrongAnswers(faults)
    if not response.is_success:
        raise Refused(detail(response), status)
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError as error:
        raise Refused(f"What answers at {url} is no fastDeploy server.", status) from error


def _faults(response: httpx2.Response) -> dict[str, str]:
    """Return what is wrong with answers, by the name of each; empty where something else is wrong."""
    try:
        said = response.json()["detail"]
        found = [(fault["loc"][1:], one_line(str(fault["msg"]))) for fault in said if fault["type"] == "input"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {".".join(map(str, loc[1:] if loc[:1] == ["env"] else loc)): words for loc, words in found}


def detail(response: httpx2.Response) -> str:
    """Return the sentence of an error: its `detail`, or what can be said without one."""
    try:
        said = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"The server answered {response.status_code} {response.reason_phrase}."
    if isinstance(said, list):
        return "; ".join(_field_error(item) for item in said)
    return one_line(str(said))


def _field_error(item: Any) -> str:
    if not isinstance(item, dict):
        return one_line(str(item))
    where = ".".join(str(part) for part in item.get("loc", ())[1:])
    return one_line(f"{where}: {item.get('msg')}" if where else str(item.get("msg")))


def _busy(response: httpx2.Response, url: str) -> str:
    try:
        fields = response.json()
        said = fields.get("detail") or " ".join(fields.get("reasons") or [])
    except (ValueError, AttributeError, TypeError):
        said = ""
    return one_line(str(said)) or f"{url} answers {response.status_code} {response.reason_phrase}. Try again later."


def _retry_after(response: httpx2.Response) -> float:
    try:
        return min(60.0, max(0.0, float(response.headers.get("retry-after", "1"))))
    except ValueError:
        return 5.0  # a date: rare, and no reason to compare clocks


def _tls(url: str) -> ssl.SSLContext:
    import httpx2

    if url.startswith("http://") and is_loopback(url):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; loading the certificates takes a while
    return httpx2.create_ssl_context()


def _told(error: httpx2.HTTPError, url: str) -> ClientError:
    import httpx2

    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol)):
        return NeverConnected(_no_connection(error, url))
    if isinstance(error, httpx2.TimeoutException):
        return Unreachable(f"{url} has not answered within {ANSWER_SECONDS:.0f} seconds.")
    return Unreachable(f"The connection to {url} broke off ({_why(error)}).")


def _no_connection(error: Exception, url: str) -> str:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"The certificate of {url} cannot be trusted: {cause.verify_message}. If it comes from an authority "
                "of your own, name its certificate in SSL_CERT_FILE."
            )
        if isinstance(cause, ssl.SSLError):
            return f"{url} does not speak TLS ({cause.reason or cause}). Is it an http:// address?"
        if isinstance(cause, socket.gaierror):
            return f"The host of {url} cannot be found ({cause.strerror}). Check the address."
    if is_loopback(url) and any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return (
            f"No server answers at {url}. Start one here with: fastdeploy serve\n"
            "Or sign in at another one with: fastdeploy login URL"
        )
    return f"{url} cannot be reached ({_why(error)})."


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


def _why(error: BaseException) -> str:
    root = next((cause for cause in _causes(error) if isinstance(cause, OSError) and cause.strerror), error)
    return one_line(getattr(root, "strerror", None) or str(error) or type(error).__name__)

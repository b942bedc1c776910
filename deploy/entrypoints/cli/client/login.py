"""The commands `login` and `logout`."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from deploy.entrypoints.cli.client.address import LOCAL, base_url, is_loopback
from deploy.entrypoints.cli.client.api import URL_VARIABLE
from deploy.entrypoints.cli.client.credentials import COOKIE, TOKEN_VARIABLE, parse_token
from deploy.entrypoints.cli.client.errors import ClientError, NotSignedIn, Refused, UsageError
from deploy.entrypoints.cli.client.logins import Login, Logins, default_path
from deploy.entrypoints.cli.client.options import examples
from deploy.entrypoints.cli.client.screen import say
from deploy.entrypoints.cli.client.transport import Transport, parse_response

REDIRECTS = 5
Address = Annotated[
    str | None,
    typer.Argument(
        metavar="URL", help="URL of the server. Default: FASTDEPLOY_URL, else the current login, else this machine."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=examples(
            "fastdeploy login https://deploy.example.com",
            "fastdeploy login --username admin --password-stdin < password.txt",
            note="Stores a session in your config folder, never the password. The session ends when you run "
            "`fastdeploy logout`, when you change your password, or when it expires (SESSION_EXPIRE_DAYS on the "
            "server). CI jobs do not need to log in: set FASTDEPLOY_URL and FASTDEPLOY_TOKEN.",
        )
    )(login)
    app.command(epilog=examples("fastdeploy logout", "fastdeploy logout https://deploy.example.com"))(logout)


def login(
    url: Address = None,
    username: Annotated[
        str | None, typer.Option("--username", "-u", help="User name. Prompted for if not given.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Sign in to a server and use it for later commands."""
    logins = Logins(default_path())
    address = _address(url, logins)
    transport = Transport(_checked_url(address))
    if transport.url.startswith("http://") and not is_loopback(transport.url):
        say(f"Warning: {transport.url} is not encrypted. Others on the network can read your password.", error=True)
    name = username or _prompt("Name")
    password = _password(from_stdin=password_stdin)
    session = _sign_in(transport, name, password)
    before, now = logins.at(transport.url), Login(url=transport.url, user=name, session=session)
    try:
        logins.keep(now)
    except ClientError:
        _end_session(now)
        raise
    if before is not None:
        _end_session(before)
    say(f"Signed in to {transport.url} as {name}")
    if os.environ.get(TOKEN_VARIABLE):
        say(f"{TOKEN_VARIABLE} is set, so commands use that token instead of this login.", error=True)


def logout(
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="URL of the server. Default: the current login.")
    ] = None,
) -> None:
    """Sign out of a server: end the session and delete it from this machine."""
    logins = Logins(default_path())
    address = base_url(url) if url else None
    login = logins.at(address) if address else logins.current()
    if login is None:
        raise NotSignedIn(f"You are not signed in{f' to {address}' if address else ''}.")
    problem = _end_session(login)
    logins.remove(login.url)
    say(f"Signed out of {login.url}")
    if problem is not None:
        say(f"The session could not be ended on the server and stays valid until it expires: {problem}", error=True)


def _address(given: str | None, logins: Logins) -> str:
    named = given or os.environ.get(URL_VARIABLE, "").strip()
    current = logins.current()
    return base_url(named) if named else current.url if current else LOCAL


def _checked_url(address: str) -> str:
    """Return the URL of the server after checking that it is a fastDeploy server.

    Follow redirects on the same host, such as from http to https. Refuse redirects to other hosts, so that a password
    is never sent there.
    """
    for _ in range(REDIRECTS):
        response = Transport(address).send("GET", "/health/live")
        if not response.is_redirect:
            break
        target = base_url(str(response.url.join(response.headers.get("location", ""))))
        if urlsplit(target).hostname != urlsplit(address).hostname or target.startswith("http:"):
            raise Refused(f"{address} redirects to {target}. To sign in there: fastdeploy login {target}", 301)
        address = target
    fields: Any = parse_response(response, address)
    if not isinstance(fields, dict) or fields.get("status") != "ok":
        raise Refused(f"{address} does not look like a fastDeploy server.", response.status_code)
    return address


def _prompt(label: str, *, hidden: bool = False) -> str:
    if not sys.stdin.isatty():
        raise UsageError("Cannot prompt without a terminal. Use --username, and --password-stdin for the password.")
    return str(typer.prompt(label, hide_input=hidden, err=True))


def _password(*, from_stdin: bool) -> str:
    if not from_stdin:
        return _prompt("Password", hidden=True)
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise UsageError("There is no password on standard input.")
    return password


def _sign_in(transport: Transport, name: str, password: str) -> str:
    response = transport.send("POST", "/session", json={"username": name, "password": password})
    parse_token(parse_response(response, transport.url), transport.url)
    session = response.cookies.get(COOKIE)
    if not session:
        raise Refused(
            f"{transport.url} did not send a session cookie. Check whether a proxy removes cookies.",
            response.status_code,
        )
    return session


def _end_session(login: Login) -> ClientError | None:
    """End a session on the server. Return the error if this fails."""
    try:
        parse_response(
            Transport(login.url).send("DELETE", "/session", headers={"Cookie": f"{COOKIE}={login.session}"}), ""
        )
    except ClientError as error:
        return error
    return None

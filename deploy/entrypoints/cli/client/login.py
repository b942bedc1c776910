"""`login` and `logout`."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from deploy.entrypoints.cli.client.address import LOCAL, base_url, is_loopback
from deploy.entrypoints.cli.client.api import URL_VARIABLE
from deploy.entrypoints.cli.client.credentials import COOKIE, TOKEN_VARIABLE, token_of
from deploy.entrypoints.cli.client.errors import ClientError, NotSignedIn, Refused, WrongUsage
from deploy.entrypoints.cli.client.logins import Login, Logins, default_path
from deploy.entrypoints.cli.client.options import examples
from deploy.entrypoints.cli.client.screen import say
from deploy.entrypoints.cli.client.transport import Transport, answer

REDIRECTS = 5
Address = Annotated[
    str | None,
    typer.Argument(
        metavar="[URL]", help="The server. Without it: FASTDEPLOY_URL, else the last one, else this machine."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=examples(
            "fastdeploy login https://deploy.example.com",
            "fastdeploy login --username admin --password-stdin < password.txt",
            note="A session is kept in your config folder, never the password. It ends with `fastdeploy logout`, with a "
            "change of the password, or after a while (SESSION_EXPIRE_DAYS on the server). CI jobs need no login: "
            "set FASTDEPLOY_URL and FASTDEPLOY_TOKEN.",
        )
    )(login)
    app.command(epilog=examples("fastdeploy logout", "fastdeploy logout https://deploy.example.com"))(logout)


def login(
    url: Address = None,
    username: Annotated[str | None, typer.Option("--username", "-u", help="Your name; else it is asked for.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Sign in at a server; later commands go there, as you."""
    logins = Logins(default_path())
    address = _address(url, logins)
    transport = Transport(_found(address))
    if transport.url.startswith("http://") and not is_loopback(transport.url):
        say(f"Careful: {transport.url} is not encrypted; others may read your password on its way.", error=True)
    name = username or _ask("Name")
    password = _password(from_stdin=password_stdin)
    session = _sign_in(transport, name, password)
    before, now = logins.at(transport.url), Login(url=transport.url, user=name, session=session)
    try:
        logins.keep(now)
    except ClientError:
        _end(now)
        raise
    if before is not None:
        _end(before)
    say(f"Signed in at {transport.url} as {name}")
    if os.environ.get(TOKEN_VARIABLE):
        say(f"{TOKEN_VARIABLE} is set, so commands use that token instead of this login.", error=True)


def logout(url: Address = None) -> None:
    """Sign out: the session ends on the server, and is forgotten here."""
    logins = Logins(default_path())
    address = base_url(url) if url else None
    login = logins.at(address) if address else logins.current()
    if login is None:
        raise NotSignedIn(f"You are not signed in{f' at {address}' if address else ''}.")
    problem = _end(login)
    logins.remove(login.url)
    say(f"Signed out at {login.url}")
    if problem is not None:
        say(f"The server could not be told, so the session lives on there until it expires: {problem}", error=True)


def _address(given: str | None, logins: Logins) -> str:
    named = given or os.environ.get(URL_VARIABLE, "").strip()
    current = logins.current()
    return base_url(named) if named else current.url if current else LOCAL


def _found(address: str) -> str:
    """Return the address that answers, once it is clear that it is a fastDeploy.

    It may be behind a redirect on the same host (from http to https, say). Elsewhere a password is not taken unasked.
    """
    for _ in range(REDIRECTS):
        response = Transport(address).send("GET", "/health/live")
        if not response.is_redirect:
            break
        target = base_url(str(response.url.join(response.headers.get("location", ""))))
        if urlsplit(target).hostname != urlsplit(address).hostname or target.startswith("http:"):
            raise Refused(f"{address} redirects to {target}. To sign in there: fastdeploy login {target}", 301)
        address = target
    fields: Any = answer(response, address)
    if not isinstance(fields, dict) or fields.get("status") != "ok":
        raise Refused(f"What answers at {address} is no fastDeploy server.", response.status_code)
    return address


def _ask(what: str, *, hidden: bool = False) -> str:
    if not sys.stdin.isatty():
        raise WrongUsage("Nobody is there to ask: give --username, and the password with --password-stdin.")
    return str(typer.prompt(what, hide_input=hidden, err=True))


def _password(*, from_stdin: bool) -> str:
    if not from_stdin:
        return _ask("Password", hidden=True)
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise WrongUsage("There is no password on standard input.")
    return password


def _sign_in(transport: Transport, name: str, password: str) -> str:
    response = transport.send("POST", "/session", json={"username": name, "password": password})
    token_of(answer(response, transport.url), transport.url)
    session = response.cookies.get(COOKIE)
    if not session:
        raise Refused(f"{transport.url} has sent no session. Does a proxy take cookies away?", response.status_code)
    return session


def _end(login: Login) -> ClientError | None:
    """End a session on the server; return what has kept us from it."""
    try:
        answer(Transport(login.url).send("DELETE", "/session", headers={"Cookie": f"{COOKIE}={login.session}"}), "")
    except ClientError as error:
        return error
    return None

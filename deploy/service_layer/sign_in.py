"""Check passwords: reserve an attempt, hash the password, then settle the reservation (decision 0013)."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from deploy.adapters.repository import BucketState
from deploy.adapters.tokens import KeyedHash, Passwords, TokenSigner, new_token_id
from deploy.domain.attempts import (
    BROWSER_KNOWN_FOR,
    NETWORK_KNOWN_FOR,
    WINDOW,
    Bucket,
    known_browser,
    known_network,
    network_of,
    password_change,
    unknown_client,
)
from deploy.domain.commands import ChangeOwnPassword
from deploy.domain.errors import Forbidden, NotSignedIn, Overloaded, TooManyAttempts
from deploy.domain.model import User
from deploy.domain.passwords import check_rules
from deploy.domain.policy import Actor
from deploy.service_layer.clock import Clock
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import OpenUnitOfWork, UnitOfWork, in_unit_of_work

# The audience of a browser's cookie. No route accepts the cookie as a token.
BROWSER = "browser"
# Longer than any username in any Unicode normalization form, so truncating longer names has no effect.
MAX_NAME_LENGTH = 1024
# Retry-After while all attempts are still being checked, which takes milliseconds.
SOON_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Client:
    """The source of an attempt: an IP address, and a browser's cookies from earlier sign-ins, by user ID."""

    address: str
    cookies: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Reservation:
    """A counted attempt: its buckets, each with the end of its window."""

    windows: Mapping[bytes, datetime]


class SignIn:
    """Checks passwords when users sign in and when they change their password."""

    def __init__(
        self,
        open_unit_of_work: OpenUnitOfWork,
        bus: MessageBus,
        passwords: Passwords,
        signer: TokenSigner,
        keyed_hash: KeyedHash,
        now: Clock,
    ) -> None:
        self._open_unit_of_work = open_unit_of_work
        self._bus = bus
        self._passwords = passwords
        self._signer = signer
        self._keyed_hash = keyed_hash
        self._now = now

    async def check(self, name: str, password: str, client: Client) -> User:
        """Return the user if the password is correct. Do not hold a database connection while hashing it.

        Raises:
            NotSignedIn: The password is wrong, or the user is unknown or disabled. The message does not reveal which.
            TooManyAttempts: A limit was reached.
            Overloaded: Too many passwords are waiting to be hashed.
        """
        name = name.replace("\x00", "")[:MAX_NAME_LENGTH]  # PostgreSQL does not accept NUL

        async def find_and_reserve(uow: UnitOfWork) -> tuple[User | None, Reservation]:
            user = await _find(name, uow)
            buckets = await self._buckets(user, _composed(name), client, uow)
            return user, await self._reserve(buckets, uow)

        user, reserved = await in_unit_of_work(self._open_unit_of_work, find_and_reserve)
        usable = user.password_hash if user is not None and user.is_active else None
        if not await self._matches(password, usable, reserved) or user is None:
            raise NotSignedIn("Incorrect username or password")
        await self._succeed(user, client.address, reserved)
        return user

    async def change_password(self, by: Actor, current: str, new: str, address: str) -> None:
        """Change a user's own password. This ends their sessions, user tokens, and known browsers.

        Raises:
            InvalidPassword: `new` violates a rule.
            Forbidden: `current` is wrong.
            TooManyAttempts: As in `check`.
            Overloaded: As in `check`.
        """
        check_rules(new)
        user_id = by.user_id or 0

        async def find_and_reserve(uow: UnitOfWork) -> tuple[User, Reservation]:
            user = await uow.users.get(user_id)
            return user, await self._reserve(password_change(user_id, by.session or ""), uow)

        user, reserved = await in_unit_of_work(self._open_unit_of_work, find_and_reserve)
        if not await self._matches(current, user.password_hash, reserved):
            raise Forbidden("The current password is incorrect.")
        await self._succeed(None, address, reserved)
        password_hash = await self._passwords.hash(new)
        await self._bus.handle(ChangeOwnPassword(user_id=user_id, password_hash=password_hash), by=by)

        # The known networks were also forgotten. Without this one, an attack could prevent the user from signing in
        # again.
        async def remember(uow: UnitOfWork) -> None:
            await self._remember(await uow.users.get(user_id), address, uow)

        await in_unit_of_work(self._open_unit_of_work, remember)

    def browser_cookie(self, user: User, client: Client) -> str:
        """Return the cookie that makes this browser known to the user's account.

        It is signed and bound to the account and its current password. A known browser keeps its bucket.
        """
        browser_id = self._known_browser(user, client) or new_token_id()
        return self._signer.sign(
            BROWSER, str(user.id), now=self._now(), lifetime=BROWSER_KNOWN_FOR, token_id=browser_id, epoch=user.epoch
        )

    def _known_browser(self, user: User, client: Client) -> str | None:
        cookie = client.cookies.get(user.id or 0)
        if cookie is None:
            return None
        try:
            claims = self._signer.read(cookie, frozenset({BROWSER}))
        except NotSignedIn:
            return None
        is_current = claims.subject == str(user.id) and claims.extra.get("epoch") == user.epoch
        return claims.token_id if is_current else None

    async def _buckets(self, user: User | None, name: str, client: Client, uow: UnitOfWork) -> Sequence[Bucket]:
        browser_id = self._known_browser(user, client) if user is not None else None
        if browser_id is not None:
            return known_browser(browser_id)
        network = network_of(client.address)
        # Also run the query for unknown names, so that timing does not reveal which names exist.
        is_known = await uow.attempts.knows_network(self._network_key(user, network), self._now())
        if user is not None and is_known:
            return known_network(user.id or 0, network)
        return unknown_client(name, network)

    def _network_key(self, user: User | None, network: str) -> bytes:
        account = (str(user.id), str(user.epoch)) if user is not None else ("", "")
        return self._keyed_hash.of("known", *account, network)

    async def _reserve(self, buckets: Sequence[Bucket], uow: UnitOfWork) -> Reservation:
        """Count an attempt in all of the buckets or in none of them.

        Raises:
            TooManyAttempts: A bucket is full.
        """
        now = self._now()
        by_key = {self._keyed_hash.of(*bucket.key): bucket for bucket in buckets}
        # Check without writing first, so that each refused attempt only costs one read, even in a flood.
        for key, state in (await uow.attempts.states(list(by_key), now)).items():
            if state.attempts >= by_key[key].limit:
                raise _refusal(by_key[key], state, now)
        windows = {}
        # All attempts lock the buckets in the same order, so they cannot deadlock.
        for key in sorted(by_key):
            ends = await uow.attempts.reserve(key, by_key[key].limit, now, now + WINDOW)
            if ends is None:
                raise _refusal(by_key[key], (await uow.attempts.states([key], now))[key], now)
            windows[key] = ends
        await uow.attempts.forget_expired(now)
        return Reservation(windows)

    async def _matches(self, password: str, password_hash: str | None, reserved: Reservation) -> bool:
        """Return True if the password is correct.

        The attempt stays counted, even if the request is canceled. If the password was not checked, the attempt is
        refunded.
        """
        try:
            matches = await self._passwords.verify(password, password_hash)
        except Overloaded:
            await in_unit_of_work(self._open_unit_of_work, partial(_refund, reserved))
            raise
        if not matches:
            await in_unit_of_work(self._open_unit_of_work, partial(_fail, reserved))
        return matches

    async def _succeed(self, user: User | None, address: str, reserved: Reservation) -> None:
        async def settle(uow: UnitOfWork) -> None:
            await _refund(reserved, uow)
            if user is not None:
                await self._remember(user, address, uow)

        await in_unit_of_work(self._open_unit_of_work, settle)

    async def _remember(self, user: User, address: str, uow: UnitOfWork) -> None:
        key = self._network_key(user, network_of(address))
        await uow.attempts.remember_network(key, self._now() + NETWORK_KNOWN_FOR)


async def _find(name: str, uow: UnitOfWork) -> User | None:
    """Return the user with this name. Names are stored in NFC, but some systems send "é" as two characters."""
    user = await uow.users.find(name)
    return user if user is not None or name == _composed(name) else await uow.users.find(_composed(name))


async def _refund(reserved: Reservation, uow: UnitOfWork) -> None:
    for bucket, ends in reserved.windows.items():
        await uow.attempts.refund(bucket, ends)


async def _fail(reserved: Reservation, uow: UnitOfWork) -> None:
    for bucket, ends in reserved.windows.items():
        await uow.attempts.fail(bucket, ends)


def _refusal(bucket: Bucket, state: BucketState, now: datetime) -> TooManyAttempts:
    if state.failures < bucket.limit:
        return TooManyAttempts("Too many simultaneous attempts. Try again in a moment.", SOON_SECONDS)
    seconds = max(1, math.ceil((state.ends - now).total_seconds()))
    return TooManyAttempts(bucket.refusal(seconds), seconds)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)

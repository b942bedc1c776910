"""Check passwords against PostgreSQL: who is allowed to sign in, and how many attempts are allowed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from argon2 import extract_parameters

from deploy.adapters.database import Database
from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.repository.attempts import FORGET_AT_ONCE
from deploy.adapters.tokens import THREADS, WAITING, KeyedHash, Passwords, TokenSigner
from deploy.domain.attempts import NETWORK_KNOWN_FOR, PER_ACCOUNT, PER_NETWORK, WINDOW
from deploy.domain.commands import ChangeUser, CreateUser
from deploy.domain.errors import DomainError, Forbidden, NotSignedIn, Overloaded, TooManyAttempts
from deploy.domain.events import UserCreated
from deploy.domain.model import User
from deploy.domain.policy import WORKER, Actor, TokenType
from deploy.service_layer.bootstrap import create_bus
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.sign_in import Client, SignIn
from deploy.service_layer.unit_of_work import OpenUnitOfWork, unit_of_work
from tests.conftest import FixedClock, inputs_of
from tests.databases import Databases
from tests.hashing import ObservedHashing, observed_passwords

RIGHT, WRONG, NEW = "the right password", "a guess", "the next password"
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"
# tests/e2e/test_sign_in.py makes 600 guesses over HTTP.
ATTACK = 200
# Seconds until a hanging test fails.
TIMEOUT = 60.0


@dataclass
class SignInDesk:
    """The sign-in service on its own database."""

    open_uow: OpenUnitOfWork
    bus: MessageBus
    database: Database
    clock: FixedClock
    passwords: Passwords
    hashing: ObservedHashing
    users: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        key = "k" * 40
        signer, keyed = TokenSigner(key), KeyedHash(key)
        self.sign_in = SignIn(self.open_uow, self.bus, self.passwords, signer, keyed, self.clock)

    async def add(self, name: str) -> int:
        """Add a user whose password is RIGHT."""
        command = CreateUser(name=name, password_hash=self.passwords.hash_now(RIGHT))
        (event,) = await self.bus.handle(command, by=WORKER)
        assert isinstance(event, UserCreated)
        self.users[name] = event.user_id
        return event.user_id

    async def check(
        self, password: str, *, name: str = "ada", address: str = HOME, cookies: Mapping[int, str] | None = None
    ) -> User:
        return await self.sign_in.check(name, password, Client(address, cookies or {}))

    async def browser(self, name: str = "ada", address: str = HOME) -> dict[int, str]:
        """Sign in with a new browser. Return its cookies."""
        user = await self.check(RIGHT, name=name, address=address)
        return {self.users[name]: self.sign_in.browser_cookie(user, Client(address, {}))}

    async def change(self, current: str, new: str = NEW, *, session: str | None = "s1", name: str = "ada") -> None:
        actor = Actor(kind=TokenType.USER, expires=0, name=name, user_id=self.users[name], session=session)
        await self.sign_in.change_password(actor, current, new, HOME)

    async def wait_for_reservations(self, number: int) -> None:
        """Wait until `number` attempts are reserved, each in the buckets of its account and its network."""
        deadline = time.monotonic() + TIMEOUT
        while sum(row["attempts"] for row in await self.rows()) < 2 * number:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.002)

    async def rows(self, table: str = "password_attempts") -> list[Any]:
        async with self.database.connection() as connection:
            return list(await connection.fetch(f"SELECT * FROM {table}"))  # noqa: S608 - our own name


async def outcome(attempt: Awaitable[object]) -> str:
    """Return the name of the error that an attempt ended with, or "ok"."""
    try:
        await asyncio.wait_for(attempt, TIMEOUT)
    except DomainError as error:
        return type(error).__name__
    return "ok"


async def outcomes(*attempts: Awaitable[object]) -> Counter[str]:
    """Make all attempts at the same time. Return their outcomes."""
    return Counter(await asyncio.wait_for(asyncio.gather(*map(outcome, attempts)), TIMEOUT))


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that other threads make true. Fail after TIMEOUT."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk_database(databases: Databases) -> AsyncIterator[Database]:
    """Yield a database with real commits that is emptied before each test."""
    async with databases.migrated() as url:
        made = Database(url)
        yield made
        await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def desk(desk_database: Database, services_root: Path, clock: FixedClock) -> AsyncIterator[SignInDesk]:
    async with desk_database.connection() as connection:
        await connection.execute("TRUNCATE users, password_attempts, known_networks CASCADE")
    open_uow = unit_of_work(desk_database.transaction)
    bus = create_bus(open_uow, ServiceFolders(services_root), clock, inputs_of(open_uow, services_root))
    made = SignInDesk(open_uow, bus, desk_database, clock, *observed_passwords())
    await made.add("ada")
    yield made
    made.hashing.open()


class TestCredentials:
    async def test_the_right_password_is_accepted(self, desk: SignInDesk) -> None:
        assert (await desk.check(RIGHT)).id == desk.users["ada"]

    @pytest.mark.parametrize(("name", "password"), [("ada", WRONG), ("ada", ""), ("eve", RIGHT), ("", "")])
    async def test_the_error_does_not_reveal_what_was_wrong(self, desk: SignInDesk, name: str, password: str) -> None:
        with pytest.raises(NotSignedIn, match=r"^Incorrect username or password$"):
            await desk.check(password, name=name)

    async def test_a_disabled_user_is_rejected(self, desk: SignInDesk) -> None:
        bob = await desk.add("bob")
        await desk.bus.handle(ChangeUser(user_id=bob, is_active=False), by=WORKER)
        with pytest.raises(NotSignedIn):
            await desk.check(RIGHT, name="bob")

    @pytest.mark.parametrize("name", ["ju\u0308rgen", "j\u00fcrgen"])
    async def test_a_name_in_another_unicode_form_is_found(self, desk: SignInDesk, name: str) -> None:
        await desk.add("j\u00fcrgen")
        assert (await desk.check(RIGHT, name=name)).name == "j\u00fcrgen"

    async def test_an_old_name_with_an_outdated_normalization_is_found(self, desk: SignInDesk) -> None:
        await desk.add("\u212bsa")  # the angstrom sign; normalization replaces it
        assert (await desk.check(RIGHT, name="\u212bsa")).id == desk.users["\u212bsa"]

    @pytest.mark.parametrize("name", ["eve", "bob"])
    async def test_unknown_and_disabled_users_take_the_same_time(self, desk: SignInDesk, name: str) -> None:
        bob = await desk.add("bob")
        await desk.bus.handle(ChangeUser(user_id=bob, is_active=False), by=WORKER)
        real = Passwords()
        await desk.bus.handle(ChangeUser(user_id=desk.users["ada"], password_hash=real.hash_now(RIGHT)), by=WORKER)
        await outcome(desk.check("gue\u0308ss"))
        known = [extract_parameters(one) for one in desk.hashing.checked]
        desk.hashing.checked.clear()
        await outcome(desk.check("gue\u0308ss", name=name))
        assert [extract_parameters(one) for one in desk.hashing.checked] == known
        assert len(known) == 2

    async def test_no_connection_is_held_while_a_password_is_hashed(self, desk: SignInDesk) -> None:
        only = Database(desk.database.url, pool_size=1)
        sign_in = SignIn(
            unit_of_work(only.transaction), desk.bus, desk.passwords, TokenSigner("k"), KeyedHash("k"), desk.clock
        )
        desk.hashing.close()
        attempt = asyncio.ensure_future(sign_in.check("ada", RIGHT, Client(HOME, {})))
        await until(lambda: desk.hashing.waiting)
        async with only.connection():
            pass
        desk.hashing.open()
        assert (await attempt).name == "ada"
        await only.close()


class TestLimits:
    async def test_parallel_guesses_at_one_account_from_one_address_are_limited(self, desk: SignInDesk) -> None:
        found = await outcomes(*(desk.check(WRONG) for _ in range(ATTACK)))
        assert found == {"NotSignedIn": PER_ACCOUNT, "TooManyAttempts": ATTACK - PER_ACCOUNT}
        assert len(desk.hashing.checked) == PER_ACCOUNT

    async def test_parallel_guesses_at_one_account_from_many_addresses_are_limited(self, desk: SignInDesk) -> None:
        attack = (desk.check(WRONG, address=f"10.1.{n // 250}.{n % 250}") for n in range(ATTACK))
        assert (await outcomes(*attack))["NotSignedIn"] == PER_ACCOUNT
        assert len(desk.hashing.checked) == PER_ACCOUNT

    async def test_parallel_guesses_at_many_accounts_from_one_address_are_limited(self, desk: SignInDesk) -> None:
        found = await outcomes(*(desk.check(WRONG, name=f"user{n}") for n in range(ATTACK)))
        assert found == {"NotSignedIn": PER_NETWORK, "TooManyAttempts": ATTACK - PER_NETWORK}
        assert len(desk.hashing.checked) == PER_NETWORK

    async def test_unicode_forms_of_a_name_share_a_limit(self, desk: SignInDesk) -> None:
        await desk.add("j\u00fcrgen")
        names = ["ju\u0308rgen", "j\u00fcrgen", "j\u00fcrg\x00en"] * PER_ACCOUNT
        found = await outcomes(*(desk.check(WRONG, name=name) for name in names))
        assert found["NotSignedIn"] == PER_ACCOUNT

    async def test_an_unknown_name_has_the_same_limit_and_message(self, desk: SignInDesk) -> None:
        messages = []
        for name in ("ada", "nobody-at-all"):
            for _ in range(PER_ACCOUNT):
                await outcome(desk.check(WRONG, name=name))
            with pytest.raises(TooManyAttempts) as raised:
                await desk.check(WRONG, name=name)
            messages.append((str(raised.value), raised.value.retry_after))
        assert messages[0] == messages[1]
        assert messages[0][1] == WINDOW.total_seconds()
        assert "Try again in 5 minutes, or use a browser that has signed in" in messages[0][0]

    async def test_addresses_of_an_ipv6_network_share_a_limit(self, desk: SignInDesk) -> None:
        async def from_network(network: int) -> Counter[str]:
            guesses = (
                desk.check(WRONG, name=f"{network}-{n}", address=f"2001:db8:0:{network:x}::{n:x}:1") for n in range(50)
            )
            return await outcomes(*guesses)

        assert (await from_network(1))["NotSignedIn"] == PER_NETWORK
        assert (await from_network(2))["NotSignedIn"] == PER_NETWORK

    async def test_a_window_ends_and_rejected_attempts_do_not_extend_it(self, desk: SignInDesk) -> None:
        for _ in range(PER_ACCOUNT):
            await outcome(desk.check(WRONG))
            desk.clock.advance(1)
        desk.clock.advance(WINDOW.total_seconds() - PER_ACCOUNT - 1)
        with pytest.raises(TooManyAttempts, match=r"Try again in 1 second, or") as raised:
            await desk.check(RIGHT)
        assert raised.value.retry_after == 1
        desk.clock.advance(1)
        assert (await desk.check(RIGHT)).name == "ada"

    async def test_the_window_of_a_network_ends(self, desk: SignInDesk) -> None:
        await outcomes(*(desk.check(WRONG, name=f"user{n}") for n in range(PER_NETWORK)))
        with pytest.raises(TooManyAttempts, match="from your network"):
            await desk.check(RIGHT)
        desk.clock.advance(WINDOW.total_seconds())
        assert (await desk.check(RIGHT)).name == "ada"

    async def test_a_new_window_has_the_same_limit(self, desk: SignInDesk) -> None:
        await outcomes(*(desk.check(WRONG) for _ in range(ATTACK // 3)))
        desk.clock.advance(WINDOW.total_seconds())
        found = await outcomes(*(desk.check(WRONG) for _ in range(ATTACK // 3)))
        assert found["NotSignedIn"] == PER_ACCOUNT

    async def test_a_success_is_refunded(self, desk: SignInDesk) -> None:
        for _ in range(PER_ACCOUNT - 1):
            await outcome(desk.check(WRONG))
        await desk.check(RIGHT)
        # Use another network, because this one is now known to the account.
        assert await outcome(desk.check(WRONG, address=ELSEWHERE)) == "NotSignedIn"
        assert await outcome(desk.check(WRONG, address=ELSEWHERE)) == "TooManyAttempts"

    async def test_a_success_alone_leaves_no_rows(self, desk: SignInDesk) -> None:
        await desk.check(RIGHT)
        await desk.check(RIGHT)
        assert await desk.rows() == []

    async def test_a_success_of_an_earlier_window_does_not_refund_this_one(self, desk: SignInDesk) -> None:
        desk.hashing.close()
        slow = asyncio.ensure_future(desk.check(RIGHT))
        await until(lambda: desk.hashing.waiting)
        desk.clock.advance(WINDOW.total_seconds())
        attack = [asyncio.ensure_future(outcome(desk.check(WRONG))) for _ in range(PER_ACCOUNT)]
        await desk.wait_for_reservations(PER_ACCOUNT)
        desk.hashing.open()
        await slow
        assert set(await asyncio.gather(*attack)) == {"NotSignedIn"}
        assert await outcome(desk.check(WRONG, address=ELSEWHERE)) == "TooManyAttempts"

    async def test_clients_with_concurrent_correct_passwords_can_retry_soon(self, desk: SignInDesk) -> None:
        desk.hashing.close()
        first = [asyncio.ensure_future(desk.check(RIGHT)) for _ in range(PER_ACCOUNT)]
        await until(lambda: len(desk.hashing.checked) == THREADS)
        await desk.wait_for_reservations(PER_ACCOUNT)
        with pytest.raises(TooManyAttempts, match="simultaneous") as raised:
            await desk.check(RIGHT)
        assert raised.value.retry_after == 1
        desk.hashing.open()
        await asyncio.gather(*first)
        assert (await desk.check(RIGHT)).name == "ada"


class TestKnownBrowsers:
    async def test_guesses_of_others_do_not_lock_out_known_browsers(self, desk: SignInDesk) -> None:
        cookies = await desk.browser()
        await outcomes(*(desk.check(WRONG, address=f"10.2.0.{n}") for n in range(50)))
        await outcomes(*(desk.check(WRONG) for _ in range(50)))
        await outcomes(*(desk.check(WRONG, name=f"user{n}") for n in range(50)))
        assert await outcome(desk.check(RIGHT)) == "TooManyAttempts"
        assert (await desk.check(RIGHT, cookies=cookies)).name == "ada"

    async def test_known_browsers_have_their_own_limit(self, desk: SignInDesk) -> None:
        cookies, other = await desk.browser(), await desk.browser()
        found = await outcomes(*(desk.check(WRONG, cookies=cookies) for _ in range(ATTACK)))
        assert found == {"NotSignedIn": PER_ACCOUNT, "TooManyAttempts": ATTACK - PER_ACCOUNT}
        assert await outcome(desk.check(RIGHT, cookies=cookies)) == "TooManyAttempts"
        # Other clients do not have to wait.
        assert await outcome(desk.check(RIGHT, cookies=other)) == "ok"
        assert await outcome(desk.check(RIGHT, address=ELSEWHERE)) == "ok"

    async def test_signing_in_again_keeps_the_limit_of_a_browser(self, desk: SignInDesk) -> None:
        cookies, ada = await desk.browser(), desk.users["ada"]
        for _ in range(PER_ACCOUNT - 1):
            await outcome(desk.check(WRONG, cookies=cookies))
        user = await desk.check(RIGHT, cookies=cookies)
        renewed = {ada: desk.sign_in.browser_cookie(user, Client(HOME, cookies))}
        found = await outcomes(*(desk.check(WRONG, cookies=renewed) for _ in range(5)))
        assert found["NotSignedIn"] == 1

    async def test_a_changed_password_makes_browsers_unknown(self, desk: SignInDesk) -> None:
        cookies = await desk.browser()
        await desk.bus.handle(
            ChangeUser(user_id=desk.users["ada"], password_hash=desk.passwords.hash_now(NEW)), by=WORKER
        )
        await outcomes(*(desk.check(WRONG, address=ELSEWHERE) for _ in range(PER_ACCOUNT)))
        assert await outcome(desk.check(NEW, cookies=cookies)) == "TooManyAttempts"

    async def test_a_browser_is_known_only_to_its_own_account(self, desk: SignInDesk) -> None:
        bob = await desk.add("bob")
        (cookie,) = (await desk.browser()).values()
        await outcomes(*(desk.check(WRONG, name="bob", address=ELSEWHERE) for _ in range(PER_ACCOUNT)))
        assert await outcome(desk.check(RIGHT, name="bob", cookies={bob: cookie})) == "TooManyAttempts"

    @pytest.mark.parametrize("change", ["another key", "a user token", "cut", "empty"])
    async def test_a_forged_cookie_is_ignored(self, desk: SignInDesk, change: str) -> None:
        ada = desk.users["ada"]
        (cookie,) = (await desk.browser(address=ELSEWHERE)).values()
        hour = timedelta(hours=1)
        forged = {
            "another key": TokenSigner("x" * 40).sign("browser", str(ada), now=desk.clock.now, lifetime=hour, epoch=0),
            "a user token": TokenSigner("k" * 40).sign("user", str(ada), now=desk.clock.now, lifetime=hour, epoch=0),
            "cut": cookie[:-3],
            "empty": "",
        }[change]
        await outcomes(*(desk.check(WRONG) for _ in range(PER_ACCOUNT)))
        assert await outcome(desk.check(RIGHT, cookies={ada: forged})) == "TooManyAttempts"
        assert await outcome(desk.check(RIGHT, cookies={ada: cookie})) == "ok"


class TestKnownNetworks:
    async def test_guesses_from_elsewhere_do_not_lock_out_known_networks(self, desk: SignInDesk) -> None:
        await desk.check(RIGHT, address=HOME)
        await outcomes(*(desk.check(WRONG, address=f"10.3.0.{n}") for n in range(50)))
        assert await outcome(desk.check(RIGHT, address=ELSEWHERE)) == "TooManyAttempts"
        assert await outcome(desk.check(RIGHT, address=HOME)) == "ok"

    async def test_guesses_at_other_names_do_not_lock_out_known_networks(self, desk: SignInDesk) -> None:
        await desk.check(RIGHT)
        await outcomes(*(desk.check(WRONG, name=f"user{n}") for n in range(ATTACK // 3)))
        assert await outcome(desk.check(RIGHT)) == "ok"

    async def test_known_networks_have_their_own_limits(self, desk: SignInDesk) -> None:
        names = [f"user{n}" for n in range(5)]
        for name in names:
            await desk.add(name)
            await desk.check(RIGHT, name=name)
        desk.hashing.checked.clear()
        for name in names:
            await outcomes(*(desk.check(WRONG, name=name) for _ in range(20)))
        assert Counter(desk.hashing.checked).most_common(1)[0][1] == PER_ACCOUNT
        assert len(desk.hashing.checked) == PER_NETWORK

    async def test_networks_expire_and_are_forgotten_after_a_password_change(self, desk: SignInDesk) -> None:
        async def is_known() -> bool:
            await outcomes(*(desk.check(WRONG, address=ELSEWHERE) for _ in range(PER_ACCOUNT)))
            return await outcome(desk.check(WRONG)) == "NotSignedIn"

        await desk.check(RIGHT)
        assert await is_known()
        desk.clock.advance(NETWORK_KNOWN_FOR.total_seconds())
        assert not await is_known()
        desk.clock.advance(WINDOW.total_seconds())
        await desk.check(RIGHT)
        assert await is_known()
        await desk.bus.handle(
            ChangeUser(user_id=desk.users["ada"], password_hash=desk.passwords.hash_now(NEW)), by=WORKER
        )
        assert not await is_known()

    async def test_daily_use_keeps_a_network_known(self, desk: SignInDesk) -> None:
        for _ in range(3):
            await desk.check(RIGHT)
            desk.clock.advance(NETWORK_KNOWN_FOR.total_seconds() - 1)
        await outcomes(*(desk.check(WRONG, address=ELSEWHERE) for _ in range(PER_ACCOUNT)))
        assert await outcome(desk.check(RIGHT)) == "ok"


class TestRows:
    async def test_expired_rows_are_deleted(self, desk: SignInDesk) -> None:
        await desk.check(RIGHT)
        await outcomes(*(desk.check(WRONG, name=f"user{n}") for n in range(PER_NETWORK)))
        assert len(await desk.rows()) == PER_NETWORK + 1
        assert len(await desk.rows("known_networks")) == 1
        desk.clock.advance(NETWORK_KNOWN_FOR.total_seconds())
        await outcome(desk.check(WRONG))
        assert len(await desk.rows()) == 2
        assert await desk.rows("known_networks") == []

    async def test_rejected_attempts_do_not_add_rows(self, desk: SignInDesk) -> None:
        await outcomes(*(desk.check(WRONG, name=f"user{n}") for n in range(ATTACK)))
        assert len(await desk.rows()) == PER_NETWORK + 1

    async def test_many_expired_rows_are_deleted_in_parts(self, desk: SignInDesk) -> None:
        old = desk.clock.now - timedelta(hours=1)
        async with desk.database.connection() as connection:
            await connection.execute(
                "INSERT INTO password_attempts SELECT int4send(n), 10, 10, $1 FROM generate_series(1, 500) AS n", old
            )
        await desk.check(RIGHT)
        assert len(await desk.rows()) == 500 - FORGET_AT_ONCE

    async def test_names_and_addresses_are_not_stored_in_plain_text(self, desk: SignInDesk) -> None:
        long = "a password typed as a name " * 5_000
        await outcome(desk.check(WRONG, name=long, address="2001:db8::1"))
        for row in await desk.rows():
            assert len(row["bucket"]) == 32

    async def test_an_absurdly_long_name_also_has_a_limit(self, desk: SignInDesk) -> None:
        names = ("x" * 2_000 + str(n) for n in range(50))
        assert (await outcomes(*(desk.check(WRONG, name=name) for name in names)))["NotSignedIn"] == PER_ACCOUNT


class TestQueue:
    async def occupy(self, desk: SignInDesk) -> list[asyncio.Task[str]]:
        """Fill the queue."""
        desk.hashing.close()
        waiting = [asyncio.ensure_future(desk.passwords.hash("another password")) for _ in range(THREADS + WAITING)]
        await until(lambda: desk.hashing.waiting == THREADS)
        return waiting

    async def test_attempts_beyond_the_queue_limit_are_rejected_and_refunded(self, desk: SignInDesk) -> None:
        waiting = await self.occupy(desk)
        # Nothing moves while the gate is closed, so these responses cannot have waited for it.
        found = await outcomes(*(desk.check(RIGHT) for _ in range(3 * PER_ACCOUNT)))
        assert found["Overloaded"] >= PER_ACCOUNT
        assert set(found) <= {"Overloaded", "TooManyAttempts"}
        with pytest.raises(Overloaded, match="Try again in a few seconds") as raised:
            await asyncio.wait_for(desk.check(RIGHT), TIMEOUT)
        assert raised.value.retry_after > 0
        assert await desk.rows() == []
        desk.hashing.open()
        await asyncio.gather(*waiting)
        assert (await desk.check(RIGHT)).name == "ada"

    async def test_one_network_cannot_fill_the_queue(self, desk: SignInDesk) -> None:
        desk.hashing.close()
        attack = asyncio.ensure_future(outcomes(*(desk.check(WRONG, name=f"u{n}") for n in range(ATTACK // 2))))
        await desk.wait_for_reservations(PER_NETWORK)
        mine = asyncio.ensure_future(desk.check(RIGHT, address=ELSEWHERE))
        await asyncio.sleep(0)
        desk.hashing.open()
        assert (await mine).name == "ada"
        assert set(await attack) == {"NotSignedIn", "TooManyAttempts"}

    async def test_a_client_that_disconnects_has_used_its_attempt(self, desk: SignInDesk) -> None:
        desk.hashing.close()
        gone = [asyncio.ensure_future(desk.check(WRONG)) for _ in range(PER_ACCOUNT)]
        await desk.wait_for_reservations(PER_ACCOUNT)
        for attempt in gone:
            attempt.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert await outcome(desk.check(WRONG)) == "TooManyAttempts"
        desk.hashing.open()
        await until(lambda: not desk.hashing.waiting)
        assert await outcome(desk.check(WRONG)) == "TooManyAttempts"
        assert len(desk.hashing.checked) <= PER_ACCOUNT

    async def test_a_client_that_disconnects_frees_its_place(self, desk: SignInDesk) -> None:
        waiting = await self.occupy(desk)
        assert await outcome(desk.passwords.verify(RIGHT, None)) == "Overloaded"
        gone = waiting.pop()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        # The gate is closed, so only the freed place is available.
        next_one = asyncio.ensure_future(outcome(desk.passwords.verify(RIGHT, None)))
        await asyncio.sleep(0)
        assert await outcome(desk.passwords.verify(RIGHT, None)) == "Overloaded"
        desk.hashing.open()
        assert await next_one == "ok"
        await asyncio.gather(*waiting)

    async def test_a_started_hash_keeps_its_thread(self, desk: SignInDesk) -> None:
        desk.hashing.close()
        gone = [asyncio.ensure_future(desk.passwords.hash("a password")) for _ in range(THREADS)]
        await until(lambda: desk.hashing.waiting == THREADS)
        for one in gone:
            one.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        more = [asyncio.ensure_future(desk.passwords.hash("a password")) for _ in range(THREADS)]
        await asyncio.sleep(0)
        assert desk.hashing.waiting == THREADS
        desk.hashing.open()
        await asyncio.gather(*more)


class TestPasswordChange:
    async def test_the_password_is_changed(self, desk: SignInDesk) -> None:
        await desk.change(RIGHT)
        assert await outcome(desk.check(RIGHT)) == "NotSignedIn"
        assert await outcome(desk.check(NEW)) == "ok"

    async def test_parallel_guesses_at_the_current_password_are_limited(self, desk: SignInDesk) -> None:
        found = await outcomes(*(desk.change(WRONG) for _ in range(ATTACK)))
        assert found == {"Forbidden": PER_ACCOUNT, "TooManyAttempts": ATTACK - PER_ACCOUNT}
        assert len(desk.hashing.checked) == PER_ACCOUNT
        with pytest.raises(TooManyAttempts, match=r"^Too many wrong passwords\. Try again in 5 minutes\.$"):
            await desk.change(RIGHT)
        desk.clock.advance(WINDOW.total_seconds())
        await desk.change(RIGHT)

    async def test_a_wrong_current_password_is_forbidden(self, desk: SignInDesk) -> None:
        with pytest.raises(Forbidden, match="The current password is incorrect"):
            await desk.change(WRONG)

    async def test_guesses_count_only_for_their_session(self, desk: SignInDesk) -> None:
        await outcomes(*(desk.change(WRONG, session="stolen") for _ in range(2 * PER_ACCOUNT)))
        await outcomes(*(desk.change(WRONG, session=None) for _ in range(2 * PER_ACCOUNT)))
        assert await outcome(desk.check(RIGHT)) == "ok"
        assert await outcome(desk.change(RIGHT, session="own")) == "ok"

    async def test_guesses_at_sign_in_do_not_block_a_password_change(self, desk: SignInDesk) -> None:
        await outcomes(*(desk.check(WRONG) for _ in range(2 * PER_ACCOUNT)))
        assert await outcome(desk.change(RIGHT)) == "ok"

    async def test_a_success_is_refunded(self, desk: SignInDesk) -> None:
        await desk.change(RIGHT)
        assert await desk.rows() == []

    async def test_during_an_attack_users_can_sign_in_after_a_change(self, desk: SignInDesk) -> None:
        await outcomes(*(desk.check(WRONG, address=ELSEWHERE) for _ in range(2 * PER_ACCOUNT)))
        await desk.change(RIGHT)
        assert await outcome(desk.check(NEW)) == "ok"

    async def test_a_full_queue_changes_nothing(self, desk: SignInDesk) -> None:
        waiting = await TestQueue().occupy(desk)
        assert await outcome(desk.change(RIGHT)) == "Overloaded"
        assert await desk.rows() == []
        desk.hashing.open()
        await asyncio.gather(*waiting)
        assert await outcome(desk.check(RIGHT)) == "ok"

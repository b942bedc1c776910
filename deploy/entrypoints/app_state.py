"""The application state of a process, created when it starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from deploy.adapters.database import Database, dsn_of
from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.inputs.choices import Choices
from deploy.adapters.notifications import Listener
from deploy.adapters.repository import Listings
from deploy.adapters.sealing import Vault
from deploy.adapters.service_folders.processes import Checkers
from deploy.adapters.tokens import KeyedHash, Passwords, TokenSigner
from deploy.adapters.websocket import Hub
from deploy.config import ENV_FILE, Settings, SettingsError, secret_key
from deploy.domain.events import AccessChanged
from deploy.domain.rules import WaitingLimits
from deploy.entrypoints.deploy_user import deploy_user
from deploy.entrypoints.full_disk import FullDisk
from deploy.entrypoints.serve.background import background
from deploy.entrypoints.serve.pools import POOL_SIZE
from deploy.service_layer.access import Access
from deploy.service_layer.authentication import Authenticator
from deploy.service_layer.bootstrap import create_bus
from deploy.service_layer.choices import asks_workers
from deploy.service_layer.clock import Clock, utc_now
from deploy.service_layer.forms import Forms
from deploy.service_layer.inputs import Inputs
from deploy.service_layer.live import LiveFeed
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.reaper import Reaper
from deploy.service_layer.sessions import BrowserSessions
from deploy.service_layer.sharing import BURST, SECONDS_PER_MESSAGE, SharedEventReader, Turns
from deploy.service_layer.sign_in import SignIn
from deploy.service_layer.tokens import TokenIssuer
from deploy.service_layer.unit_of_work import OpenUnitOfWork, unit_of_work
from deploy.service_layer.users import Accounts
from deploy.service_layer.worker_tasks import TaskClient

# An idle process that checks service folders needs about 30 MiB of memory.
KEEP_CHECKER_SECONDS = 10.0
URL_SCHEME = "postgresql+asyncpg://"


@dataclass(frozen=True)
class AppState:
    """The components of a process that the entrypoints use."""

    settings: Settings
    database: Database
    open_unit_of_work: OpenUnitOfWork
    open_reads: OpenUnitOfWork
    open_autocommit: OpenUnitOfWork
    listings: Listings
    bus: MessageBus
    inputs: Inputs
    folders: ServiceFolders
    signer: TokenSigner
    access: Access
    accounts: Accounts
    tokens: TokenIssuer
    sign_in: SignIn
    sessions: BrowserSessions
    forms: Forms
    authenticator: Authenticator
    listener: Listener
    hub: Hub
    feed: LiveFeed
    turns: Turns
    reaper: Reaper
    now: Clock
    full_disk: FullDisk


def create_app_state(
    settings: Settings,
    database_url: str,
    now: Clock = utc_now,
    *,
    pool_size: int = POOL_SIZE,
    checkers: Checkers | None = None,
) -> AppState:
    """Create the components of a process. They do not connect to the database yet.

    `checkers` starts the processes that check folders.

    Raises:
        SettingsError: `database_url` is not a valid PostgreSQL URL.
    """
    if not database_url.startswith(URL_SCHEME):
        raise SettingsError(f"DATABASE_URL must start with {URL_SCHEME} (user:password@host:5432/name).")
    try:
        dsn_of(database_url)
    except ValueError as error:
        raise SettingsError(
            f"DATABASE_URL is invalid ({error}). Escape special characters in the password: %40 for @, %2F for /."
        ) from None
    database = Database(
        database_url, pool_size=pool_size, read_timeout=settings.read_timeout_seconds, log_sql=settings.log_sql
    )
    open_unit_of_work = unit_of_work(database.transaction)
    open_reads = unit_of_work(database.reading_transaction)
    folders = create_folders(settings, checkers)
    key = secret_key(settings)
    signer, passwords = TokenSigner(key), Passwords()
    authenticator = Authenticator(signer, open_unit_of_work, now)
    listener = Listener(database_url, is_own=database.owns)
    hub = Hub()

    def invalidate_access(user_id: int | None = None) -> None:
        authenticator.invalidate(user_id)
        hub.rights_changed(user_id)

    listener.on("access", lambda user: invalidate_access(int(user) if user else None))
    listener.on_connect(invalidate_access)
    open_autocommit = unit_of_work(database.connection)
    choices = Choices(folders, asks_workers(TaskClient(open_autocommit, listener)))
    inputs = Inputs(open_unit_of_work, choices, Vault(key))
    limits = WaitingLimits(per_service=settings.max_waiting_per_service, per_user=settings.max_waiting_per_user)
    bus = create_bus(open_unit_of_work, folders, now, inputs, open_autocommit, limits)
    # Otherwise a revoked token would remain valid here until the notification arrives.
    bus.on_commit(AccessChanged, lambda event: invalidate_access(event.user_id))
    turns = Turns(BURST * SECONDS_PER_MESSAGE)
    feed = LiveFeed(open_unit_of_work, SharedEventReader(database, turns), hub, listener)
    bus.on_committed(feed.send_committed)
    return AppState(
        settings=settings,
        database=database,
        open_unit_of_work=open_unit_of_work,
        open_reads=open_reads,
        open_autocommit=open_autocommit,
        listings=Listings(database),
        bus=bus,
        inputs=inputs,
        folders=folders,
        signer=signer,
        access=Access(open_unit_of_work, open_reads, bus),
        accounts=Accounts(open_unit_of_work, bus, passwords),
        tokens=TokenIssuer(open_unit_of_work, bus, signer, now),
        sign_in=SignIn(open_unit_of_work, bus, passwords, signer, KeyedHash(key), now),
        sessions=BrowserSessions(
            open_unit_of_work,
            bus,
            signer,
            now,
            lifetime=timedelta(days=settings.session_expire_days),
            token_lifetime=timedelta(minutes=settings.access_token_expire_minutes),
        ),
        forms=Forms(open_unit_of_work, folders, choices, runs_as=settings.sudo_user or None),
        authenticator=authenticator,
        listener=listener,
        hub=hub,
        feed=feed,
        turns=turns,
        reaper=Reaper(bus, open_unit_of_work, settings.worker_grace_seconds),
        now=now,
        full_disk=FullDisk(),
    )


def create_folders(settings: Settings, checkers: Checkers | None = None) -> ServiceFolders:
    """Return the reader of the service folders. Links in the folders must not lead to private files of the server."""
    private = (settings.data_dir.absolute(), Path(ENV_FILE).absolute())
    return ServiceFolders(
        settings.services_root, user=lambda: deploy_user(settings), private=private, checkers=checkers
    )


@asynccontextmanager
async def running(state: AppState) -> AsyncIterator[None]:
    """Run the background tasks of a process: the listener, the live channel, and the reaper."""
    state.folders.keep_processes(KEEP_CHECKER_SECONDS)
    try:
        with state.full_disk.limiting_log():
            async with background(state.listener.run(), state.feed.run(), state.reaper.run()):
                yield
    finally:
        await state.folders.close()
        await state.database.close()

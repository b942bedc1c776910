"""The schema can be created, and upgraded repeatedly and concurrently, and it matches the metadata in the code."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Enum, Index, Table
from sqlalchemy.engine import make_url

from deploy.adapters import migrations, orm
from deploy.adapters.database import DATABASE_ERRORS, Database, is_away
from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.migrations.upgrading import config_for, engine_for
from deploy.adapters.repository import Listings
from deploy.adapters.repository.queue import QUEUE, TASK
from deploy.domain.fields import names_of
from deploy.domain.model import (
    BrowserSession,
    DeployedService,
    Deployment,
    Grant,
    Group,
    Lane,
    Service,
    Step,
    Token,
    User,
)
from deploy.domain.rights import EVERYTHING
from deploy.service_layer.bootstrap import create_bus
from deploy.service_layer.unit_of_work import OpenUnitOfWork, unit_of_work
from tests.conftest import FixedClock, inputs_of
from tests.databases import Databases
from tests.runs import ended, line
from tests.site import Site


@pytest_asyncio.fixture(loop_scope="session")
async def empty_url(databases: Databases) -> AsyncIterator[str]:
    async with databases.empty() as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def empty(empty_url: str) -> AsyncIterator[Database]:
    """Yield a database without any tables."""
    made = Database(empty_url)
    yield made
    await made.close()


# A successful, a running, and a queued deployment, as each released version stores them.
IN_PROGRESS = [
    """INSERT INTO services (name, data) VALUES ('shop', '{"steps": [{"name": "A"}], "concurrency": 2}')""",
    """
    INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args, status)
    SELECT 'deployments', 'deploy', 'service:1:0', json_build_object('deployment_id', n), 'todo'
    FROM generate_series(2, 3) AS n
    """,
    "UPDATE procrastinate_jobs SET status = 'doing' WHERE id = 1",
    """
    INSERT INTO deployments (service_id, service, origin, "user", context, state, created, started, finished, run_ended,
        idempotency_key, worker_id, job_id, seq, lines, spool_offset, step_count, run_count, has_failed_step)
    SELECT 1, 'shop', 'CI', 'ada', json_build_object('env', json_build_object('n', n)), state, now(), started, finished,
        finished, CASE n WHEN 3 THEN 'k' END, worker, job, 0, 0, 0, 0, 0, false
    FROM (VALUES
        (1, 'success', now(), now(), NULL, NULL), (2, 'running', now(), NULL, 'w1', 1), (3, 'queued', NULL, NULL, NULL, 2)
    ) AS old (n, state, started, finished, worker, job) ORDER BY n
    """,
]


Answer = TypeVar("Answer")

COLUMNS = [column for table in orm.metadata.sorted_tables for column in table.columns]
ENUMS = [column for column in COLUMNS if isinstance(column.type, Enum)]
INDEXES = [
    index for table in orm.metadata.sorted_tables for index in sorted(table.indexes, key=lambda one: str(one.name))
]
PARTIAL_INDEXES = [index for index in INDEXES if index.dialect_options["postgresql"]["where"] is not None]


def literals(expression: str) -> set[str]:
    """Return the strings in a SQL expression."""
    return set(re.findall(r"'([^']*)'", expression))


async def with_sqlalchemy(database: Database, do: Callable[[Connection], Answer]) -> Answer:
    """Call `do` with a SQLAlchemy connection in a transaction."""
    async with engine_for(database.url).begin() as connection:
        return await connection.run_sync(do)


def described(hint: Any) -> tuple[type[Any], bool]:
    """Return the class of a type hint, and True if it accepts None."""
    is_optional = type(None) in get_args(hint)
    required = next(part for part in get_args(hint) if part is not type(None)) if is_optional else hint
    return get_origin(required) or required, is_optional


def differences(connection: Connection) -> list[Any]:
    """Return the changes that Alembic would make so that the schema matches the metadata in the code."""
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": lambda name, kind, _parents: not (kind == "table" and name.startswith("procrastinate_")),
    }
    found: list[Any] = compare_metadata(MigrationContext.configure(connection, opts=options), orm.metadata)
    return found


class TestUpgrade:
    async def test_an_empty_database_gets_the_full_schema(self, empty: Database) -> None:
        assert await migrations.current(empty) is None
        assert await migrations.upgrade(empty)
        assert await migrations.current(empty) == migrations.head()
        async with empty.connection() as connection:
            for table in (*orm.metadata.tables, "procrastinate_jobs"):
                assert await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table)

    async def test_a_second_upgrade_changes_nothing(self, empty: Database) -> None:
        await migrations.upgrade(empty)
        assert not await migrations.upgrade(empty)

    async def test_an_upgrade_keeps_data(self, database: Database, committing_uow: OpenUnitOfWork) -> None:
        async with database.connection() as connection:
            await connection.execute("INSERT INTO services (name, data) VALUES ('shop', '{}')")
        await migrations.upgrade(database)
        async with committing_uow() as uow:
            assert [service.name for service in await uow.services.list(visible=EVERYTHING)] == ["shop"]

    @pytest.mark.parametrize("revision", ["0001", "0005", "0006", "0009"])
    async def test_work_in_progress_is_upgraded(
        self, empty: Database, clock: FixedClock, tmp_path: Path, revision: str
    ) -> None:
        await with_sqlalchemy(empty, lambda begun: command.upgrade(config_for(begun), revision))
        async with empty.transaction() as connection:
            for statement in IN_PROGRESS:
                await connection.execute(statement)
            if revision >= "0006":
                await connection.execute("UPDATE services SET concurrency = 2")
                # As added by a server of that version, which may still be running after the upgrade.
                await connection.execute(
                    "UPDATE procrastinate_jobs SET queue_name = 'waiting', lock = 'service:1:' WHERE status = 'todo'"
                )
        assert await migrations.upgrade(empty)
        open_uow = unit_of_work(empty.transaction)
        bus = create_bus(open_uow, ServiceFolders(tmp_path), clock, inputs_of(open_uow, tmp_path))
        site = Site(bus, open_uow, clock)
        # The running deployment continues, the queued one follows, then a new one runs. All of them are listed.
        assert await site.claim() == 3
        await site.take_in(2, line(), ended(0))
        again = {"origin": "CI", "user": "ada", "context": {"env": {"n": 3}}, "idempotency_key": "k"}
        assert await site.start(1, **again) == 3
        assert await site.start(1) == 4
        listed = json.loads(await Listings(empty).deployments(limit=10, visible=EVERYTHING))
        assert [(one["id"], one["state"], one["secret_inputs"]) for one in listed] == [
            (4, "queued", []),
            (3, "running", []),
            (2, "success", []),
            (1, "success", []),
        ]
        async with open_uow() as uow:
            assert list(await uow.history.snapshots([1, 2, 3, 4], visible=EVERYTHING)) == [4]

    async def test_similar_names_are_reported_and_stale_tokens_are_revoked(
        self, empty: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        await with_sqlalchemy(empty, lambda begun: command.upgrade(config_for(begun), "0011"))
        token = "INSERT INTO tokens (id, kind, origin, created, expires, user_id, service_id) VALUES "
        async with empty.transaction() as connection:
            await connection.execute(
                "INSERT INTO users (id, name, password_hash, is_admin, is_active) OVERRIDING SYSTEM VALUE "
                "VALUES (1, 'ada', 'x', true, true), (2, 'Ada', 'x', false, true), (3, 'bob', 'x', false, true)"
            )
            await connection.execute(
                "INSERT INTO services (id, name, data, deleted) OVERRIDING SYSTEM VALUE "
                "VALUES (1, 'shop', '{}', NULL), (2, 'gone', '{}', now())"
            )
            await connection.execute(
                f"{token} ('a', 'service', 'CI', now(), 'infinity', 1, 1), ('b', 'service', 'CI', now(), 'infinity', 1, 2), "
                "('c', 'config', 'CI', now(), 'infinity', 1, NULL), ('d', 'config', 'CI', now(), 'infinity', 2, NULL), "
                "('e', 'config', 'CI', now(), 'infinity', NULL, NULL)"
            )
        assert await migrations.upgrade(empty)
        async with empty.connection() as connection:
            rows = await connection.fetch("SELECT id FROM tokens WHERE revoked IS NOT NULL ORDER BY id")
        assert [row[0] for row in rows] == ["b", "d"]
        assert "These users have names that look alike: Ada, ada." in caplog.text
        assert "bob" not in caplog.text

    async def test_concurrent_upgrades_do_not_conflict(self, empty_url: str) -> None:
        pools = [Database(empty_url) for _ in range(4)]
        try:
            await asyncio.gather(*map(migrations.upgrade, pools))
            assert {await migrations.current(pool) for pool in pools} == {migrations.head()}
        finally:
            for pool in pools:
                await pool.close()

    async def test_options_of_the_url_apply_to_migrations(self, empty_url: str) -> None:
        database = Database(f"{empty_url}&sslmode=disable")
        assert await migrations.upgrade(database)
        await database.close()

    async def test_a_user_without_rights_gets_an_error(self, empty: Database, empty_url: str) -> None:
        role, parts = f"ada_{uuid.uuid4().hex}", urlsplit(empty_url)
        async with empty.connection() as connection:
            await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
        database = Database(parts._replace(netloc=f"{role}:p@").geturl())
        with pytest.raises(DATABASE_ERRORS, match="permission denied") as raised:
            await migrations.upgrade(database)
        assert not is_away(raised.value)
        await database.close()
        async with empty.connection() as connection:
            await connection.execute(f"DROP ROLE {role}")

    async def test_a_failed_upgrade_leaves_nothing_behind(self, empty: Database) -> None:
        async with empty.connection() as connection:
            # Conflicts with the last table that the first revision creates.
            await connection.execute("CREATE TABLE steps ()")
        with pytest.raises(Exception, match="steps"):
            await migrations.upgrade(empty)
        assert await migrations.current(empty) is None
        async with empty.connection() as connection:
            assert await connection.fetchval("SELECT to_regclass('users') IS NULL")
            await connection.execute("DROP TABLE steps")
        assert await migrations.upgrade(empty)


class TestSchema:
    async def test_the_schema_matches_the_metadata(self, shared_database: Database) -> None:
        assert await with_sqlalchemy(shared_database, differences) == []

    async def test_a_difference_is_detected(self, database: Database) -> None:
        async with database.connection() as connection:
            await connection.execute("ALTER TABLE deployments DROP COLUMN reason, ALTER origin DROP NOT NULL")
            await connection.execute("DROP INDEX ix_deployments_open")
        assert len(await with_sqlalchemy(database, differences)) == 3

    async def test_check_constraints_exist(self, shared_database: Database) -> None:
        """Alembic does not compare check constraints."""
        query = "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conname LIKE 'ck\\_%' ORDER BY 1"
        async with shared_database.connection() as connection:
            names = [row[0] for row in await connection.fetch(query)]
        assert names == [
            "ck_deployments_state",
            "ck_grants_one_object",
            "ck_grants_one_subject",
            "ck_grants_permission",
            "ck_grants_site_right",
            "ck_host_results_outcome",
            "ck_steps_state",
            "ck_tokens_kind",
        ]

    @pytest.mark.parametrize("column", ENUMS, ids=str)
    async def test_a_check_constraint_allows_exactly_the_values_of_its_enum(
        self, shared_database: Database, column: Column[Any]
    ) -> None:
        query = (
            "SELECT check_.conname, pg_get_constraintdef(check_.oid) FROM pg_constraint AS check_ "
            "JOIN pg_attribute AS part ON part.attrelid = check_.conrelid AND part.attnum = ANY(check_.conkey) "
            "WHERE check_.contype = 'c' AND check_.conrelid = CAST($1 AS regclass) AND part.attname = $2 "
            "AND check_.conname = concat('ck_', $1, '_', $2)"
        )
        async with shared_database.connection() as connection:
            ((name, definition),) = await connection.fetch(query, column.table.name, column.name)
        kind = column.type.enum_class  # type: ignore[attr-defined]
        allowed, wanted = literals(definition), {value.value for value in kind}
        assert allowed == wanted, (
            f"{name} allows {sorted(allowed)}, but {kind.__name__} has {sorted(wanted)}. "
            "Add a migration that replaces the constraint."
        )

    @pytest.mark.parametrize("index", PARTIAL_INDEXES, ids=lambda index: str(index.name))
    async def test_a_partial_index_covers_the_states_in_the_code(
        self, shared_database: Database, index: Index
    ) -> None:
        """Alembic does not compare predicates."""
        query = "SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = CAST($1 AS regclass)"
        async with shared_database.connection() as connection:
            predicate = await connection.fetchval(query, index.name)
        wanted = literals(str(index.dialect_options["postgresql"]["where"]))
        assert literals(predicate) == wanted, (
            f"{index.name} covers {sorted(literals(predicate))}, but the code uses {sorted(wanted)}. "
            "Add a migration that replaces the index."
        )

    @pytest.mark.parametrize(
        ("kind", "table"),
        [
            (User, orm.users),
            (BrowserSession, orm.sessions),
            (Token, orm.tokens),
            (Group, orm.groups),
            (Grant, orm.grants),
            (Service, orm.services),
            (Deployment, orm.deployments),
            (Step, orm.steps),
            (DeployedService, orm.deployed_services),
        ],
    )
    def test_columns_match_the_domain_fields(self, kind: type[Any], table: Table) -> None:
        """Rows are read by field name."""
        for_statements = {"concurrency", "tags"} if table is orm.services else set()
        assert {column.name for column in table.columns} == set(names_of(kind)) | for_statements

    @pytest.mark.parametrize(("kind", "table"), orm.MAPPED.items())
    def test_columns_have_the_types_of_the_domain_fields(self, kind: type[Any], table: Table) -> None:
        for name, hint in get_type_hints(kind).items():
            column, (class_, is_optional) = table.columns[name], described(hint)
            assert column.type.python_type in (class_, object), name  # JSON can contain any object
            # A field with a default in the database is None until the object is stored.
            assert column.nullable == is_optional or (is_optional and column.server_default is not None), name

    def test_the_head_matches_alembic(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(migrations.FOLDER))
        script = ScriptDirectory.from_config(config)
        assert script.get_heads() == [migrations.head()]
        assert script.get_bases() == ["0001"]


class TestQueue:
    async def test_jobs_equal_those_created_by_procrastinate(
        self, database_url: str, committing_uow: OpenUnitOfWork
    ) -> None:
        reason = "procrastinate's own client needs libpq"
        psycopg = pytest.importorskip("psycopg", reason=reason, exc_type=ImportError)
        from procrastinate import App, PsycopgConnector

        url = make_url(database_url)
        dsn = psycopg.conninfo.make_conninfo(
            user=url.username,
            password=url.password,
            dbname=url.database,
            host=url.host or url.query["host"],
            port=url.port or url.query["port"],
        )
        app = App(connector=PsycopgConnector(conninfo=dsn, min_size=1, max_size=1))
        async with app.open_async():
            task = app.configure_task(TASK, queue=QUEUE, lock="service:3:")
            await task.defer_async(deployment_id=7)
        async with committing_uow() as uow:
            await uow.queue.put(7, Lane(3))
            rows = await uow.workers._driver.fetch("SELECT to_json(job) FROM procrastinate_jobs AS job")
            theirs, ours = ({**row[0], "id": None} for row in rows)
        assert ours == theirs
        assert json.dumps(ours["args"]) == '{"deployment_id": 7}'

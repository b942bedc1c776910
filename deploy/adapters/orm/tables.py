"""Define the database tables in SQLAlchemy. Migrations are generated from them and checked against them.

Free-form values are `json`, not `jsonb`, because scripts can report values that `jsonb` rejects (NUL).
"""

from __future__ import annotations

from enum import Enum

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy import Enum as SqlEnum

from deploy.adapters.states import sql_list
from deploy.domain import model

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
Moment = DateTime(timezone=True)


def _state(kind: type[Enum], name: str) -> SqlEnum:
    return SqlEnum(
        kind,
        name=name,
        native_enum=False,
        length=16,
        create_constraint=True,
        values_callable=lambda states: [state.value for state in states],
    )


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=False), primary_key=True)


users = Table(
    "users",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("has_generated_password", Boolean, nullable=False, server_default=text("false")),
    Column("created", Moment, nullable=False, server_default=text("now()")),
    UniqueConstraint("name"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("user_epoch", Integer, nullable=False),
    Column("created", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
    Column("last_used", Moment),
    Column("user_agent", Text, nullable=False),
)

# Recent password attempts, shared by all processes. Buckets are keyed hashes, which do not reveal names, addresses, or
# mistyped passwords.
password_attempts = Table(
    "password_attempts",
    metadata,
    Column("bucket", LargeBinary, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("ends", Moment, nullable=False, index=True),
)

known_networks = Table(
    "known_networks",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("expires", Moment, nullable=False, index=True),
)

# The audit log. Entries are never changed, and they have no foreign keys because they outlive the objects they
# describe.
audit = Table(
    "audit",
    metadata,
    _id(),
    Column("at", Moment, nullable=False, server_default=text("now()"), index=True),
    Column("actor_type", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("user_id", BigInteger),
    Column("action", Text, nullable=False),
    Column("object_type", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("details", JSON, nullable=False),
)

services = Table(
    "services",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Column("concurrency", Integer, nullable=False, server_default=text("1")),
    Column("tags", ARRAY(Text), nullable=False, server_default="{}"),
    Column("readme", Text),
    Column("updated", Moment, nullable=False, server_default=text("now()")),
    Column("deleted", Moment),
    UniqueConstraint("name"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", _state(model.TokenKind, "kind"), nullable=False),
    Column("origin", Text, nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), index=True),
    Column("service_id", ForeignKey("services.id", ondelete="CASCADE"), index=True),
    Column("created", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
    Column("last_used", Moment),
    Column("revoked", Moment),
)

groups = Table(
    "groups",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    # All users are members of this one group, which has no rows in `group_members`.
    Column("is_everyone", Boolean, nullable=False, server_default=text("false")),
    Column("created", Moment, nullable=False, server_default=text("now()")),
    UniqueConstraint("name"),
    Index("uq_groups_everyone", "is_everyone", unique=True, postgresql_where=text("is_everyone")),
)

group_members = Table(
    "group_members",
    metadata,
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
)

# No rights on services are stored anywhere else. A grant without a service and a tag applies to all services.
grants = Table(
    "grants",
    metadata,
    _id(),
    Column("permission", _state(model.Permission, "permission"), nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), index=True),
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE"), index=True),
    Column("service_id", ForeignKey("services.id", ondelete="CASCADE"), index=True),
    Column("tag", Text),
    Column("environment", Text),
    Column("created", Moment, nullable=False, server_default=text("now()")),
    Column("created_by", Text, nullable=False),
    CheckConstraint("(user_id IS NULL) <> (group_id IS NULL)", name="one_subject"),
    CheckConstraint("service_id IS NULL OR tag IS NULL", name="one_object"),
    CheckConstraint(
        "permission <> 'sync' OR (service_id IS NULL AND tag IS NULL AND environment IS NULL)", name="site_right"
    ),
    UniqueConstraint(
        "user_id",
        "group_id",
        "service_id",
        "tag",
        "environment",
        "permission",
        name="uq_grants_all",
        postgresql_nulls_not_distinct=True,
    ),
)

deployments = Table(
    "deployments",
    metadata,
    _id(),
    Column("service_id", ForeignKey("services.id"), nullable=False),
    Column("service", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="SET NULL")),
    Column("context", JSON, nullable=False),
    Column("state", _state(model.DeploymentState, "state"), nullable=False),
    Column("created", Moment, nullable=False),
    Column("started", Moment),
    Column("finished", Moment),
    Column("reason", Text),
    Column("exit_code", Integer),
    Column("retry_of", ForeignKey("deployments.id", ondelete="SET NULL")),
    Column("idempotency_key", Text),
    Column("worker_id", Text),
    Column("job_id", BigInteger),
    Column("cancel_requested", Text),
    Column("run_ended", Moment),
    Column("seq", BigInteger, nullable=False),
    Column("lines", BigInteger, nullable=False),
    Column("spool_offset", BigInteger, nullable=False),
    Column("step_count", Integer, nullable=False),
    Column("run_count", Integer, nullable=False),
    Column("has_failed_step", Boolean, nullable=False),
    Column("expected_seconds", Double),
    Column("secret_inputs", ARRAY(Text), nullable=False, server_default="{}"),
    # Set together with an idempotency key. Identifies a repeated request without storing its secrets.
    Column("request_fingerprint", Text),
    Column("environment", Text, nullable=False, server_default=""),
    # {"reason", "until"} of a queued deployment that does not have a job yet.
    Column("held", JSON),
    # Each set of columns that deployments are looked up by has its own index, which ends with the ID (decision 0024).
    Index("ix_deployments_service", "service_id", "id"),
    Index("ix_deployments_lane_state", "service_id", "environment", "state", "id"),
    Index("ix_deployments_lane_user_id", "service_id", "environment", "user_id", "id"),
    Index("ix_deployments_state", "state", "id"),
    Index("ix_deployments_service_state", "service_id", "state", "id"),
    Index("ix_deployments_user_state", "user", "state", "id"),
    Index("ix_deployments_origin_state", "origin", "state", "id"),
    Index("ix_deployments_service_user_state", "service_id", "user", "state", "id"),
    Index("ix_deployments_service_origin_state", "service_id", "origin", "state", "id"),
    Index("ix_deployments_user_origin_state", "user", "origin", "state", "id"),
    Index("ix_deployments_service_user_origin_state", "service_id", "user", "origin", "state", "id"),
    # For filtering by time: the first and last moments in blocks of 256 and 16,384 IDs.
    Index("ix_deployments_small_block", text("(id >> 8)"), "created"),
    Index("ix_deployments_large_block", text("(id >> 14)"), "created"),
    # For retention.
    Index("ix_deployments_finished", "service_id", "finished", postgresql_where=text("finished IS NOT NULL")),
    # Deleting a deployment searches for its retries (ON DELETE SET NULL).
    Index("ix_deployments_retry_of", "retry_of", postgresql_where=text("retry_of IS NOT NULL")),
    Index("ix_deployments_open", "id", postgresql_where=text(f"state IN ({sql_list(model.ACTIVE)})")),
    Index(
        "uq_deployments_service_id_user_idempotency_key",
        "service_id",
        "user",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
)

steps = Table(
    "steps",
    metadata,
    _id(),
    Column("deployment_id", ForeignKey("deployments.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("run_order", Integer),
    Column("state", _state(model.StepState, "state"), nullable=False),
    Column("message", Text, nullable=False),
    Column("started", Moment),
    Column("finished", Moment),
    Column("first_line", BigInteger),
    Column("last_line", BigInteger),
    Column("detail", JSON, nullable=False),
    # A few results of an Ansible task. If `host_counts` is null, all results, stored by a version without `host_results`.
    Column("hosts", JSON, nullable=False),
    Column("expected_seconds", Double),
    Column("host_counts", JSON),
    UniqueConstraint("deployment_id", "position"),
    Index("ix_steps_open", "deployment_id", postgresql_where=text(f"state IN ({sql_list(model.OPEN_STEPS)})")),
)

# The result of each step on each host. Results are deleted together with their step by the statement that deletes the
# step, because a foreign key would be checked for each result.
host_results = Table(
    "host_results",
    metadata,
    Column("deployment_id", ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True),
    Column("step_id", BigInteger, primary_key=True, autoincrement=False),
    Column("host", Text, primary_key=True),
    Column("outcome", _state(model.Outcome, "outcome"), nullable=False),
    Column("duration", Double),
    Column("message", Text, nullable=False),
    Column("diff", Text),
    Column("lines", JSON, nullable=False),
)

# The service's config and the digests of its files when a deployment starts, used to show later what has changed.
snapshots = Table(
    "snapshots",
    metadata,
    Column("deployment_id", ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True),
    Column("config", JSON, nullable=False),
    Column("files", JSON),
)

# The secrets of unfinished runs (secret inputs, deployment token), encrypted with a key that is not in the database.
secrets = Table(
    "secrets",
    metadata,
    Column("deployment_id", ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

# The event log of each deployment. `message` is the JSON text sent to clients.
events = Table(
    "events",
    metadata,
    Column("deployment_id", ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("last_line", BigInteger),
    Column("message", Text, nullable=False),
    Index("ix_events_output", "deployment_id", "last_line", postgresql_where=text("last_line IS NOT NULL")),
)

deployed_services = Table(
    "deployed_services",
    metadata,
    _id(),
    Column("service_id", ForeignKey("services.id", ondelete="CASCADE"), nullable=False),
    Column("deployment_id", ForeignKey("deployments.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("config", JSON, nullable=False),
    Column("environment", Text, nullable=False, server_default=""),
    UniqueConstraint("service_id", "environment"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("started", Moment, nullable=False),
    Column("last_seen", Moment, nullable=False),
)

# Questions of server processes to workers, deleted once they are answered and read. Not part of the deployment queue.
worker_tasks = Table(
    "worker_tasks",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("deadline", Moment, nullable=False),
    Column("worker_id", Text),
    Column("finished", Moment),
    Column("result", JSON),
    Column("error", Text),
)

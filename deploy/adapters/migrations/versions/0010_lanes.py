"""Give each environment of a service its own lane, hold deployments, and claim jobs at a cost that does not depend on
how many wait.

Revision: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from deploy.adapters.migrations import function

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("deployments", "deployed_services"):
        op.add_column(table, sa.Column("environment", sa.Text(), server_default="", nullable=False))
    op.add_column("deployments", sa.Column("held", sa.JSON(), nullable=True))
    op.create_index(
        "ix_deployments_lane_id", "deployments", ["service_id", "environment", sa.text("id DESC")], unique=False
    )
    op.create_index(
        "ix_deployments_lane_success",
        "deployments",
        ["service_id", "environment", sa.text("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'success'"),
    )
    op.drop_index("ix_deployments_service_id_success", table_name="deployments")
    op.drop_constraint("uq_deployed_services_service_id", "deployed_services", type_="unique")
    op.create_unique_constraint(
        "uq_deployed_services_service_id_environment", "deployed_services", ["service_id", "environment"]
    )
    # Must match the expressions in fastdeploy_runnable_jobs.
    op.execute(
        "CREATE INDEX fastdeploy_waiting_jobs ON procrastinate_jobs "
        "(CAST(split_part(lock, ':', 2) AS bigint), split_part(lock, ':', 4), id) "
        "WHERE status = 'todo' AND task_name = 'deploy'"
    )
    op.execute(function("0010_runnable_jobs"))
    op.execute(function("0010_take_jobs"))
    op.execute("DROP FUNCTION fastdeploy_admit_jobs()")


def downgrade() -> None:
    # Earlier versions do not have environments, and would run held deployments: cancel both kinds if they wait.
    op.execute(
        "UPDATE deployments SET state = 'cancelled', finished = now(), "
        "reason = 'Cancelled by an upgrade to an earlier version.' "
        "WHERE state = 'queued' AND (environment <> '' OR held IS NOT NULL)"
    )
    op.execute("DROP FUNCTION fastdeploy_take_jobs(integer)")
    op.execute("DROP FUNCTION fastdeploy_runnable_jobs(integer, bigint[])")
    op.execute(function("0006_admit_jobs"))
    op.execute(function("0006_take_jobs"))
    op.execute("DROP INDEX fastdeploy_waiting_jobs")
    op.execute(
        "UPDATE procrastinate_jobs SET lock = split_part(lock, ':', 1) || ':' || split_part(lock, ':', 2) || ':' "
        "|| split_part(lock, ':', 3) WHERE split_part(lock, ':', 4) <> ''"
    )
    op.execute(
        "DELETE FROM deployed_services AS older USING deployed_services AS newer "
        "WHERE newer.service_id = older.service_id AND newer.deployment_id > older.deployment_id"
    )
    op.drop_constraint("uq_deployed_services_service_id_environment", "deployed_services", type_="unique")
    op.create_unique_constraint("uq_deployed_services_service_id", "deployed_services", ["service_id"])
    op.create_index(
        "ix_deployments_service_id_success",
        "deployments",
        ["service_id", sa.text("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'success'"),
    )
    op.drop_index("ix_deployments_lane_success", table_name="deployments")
    op.drop_index("ix_deployments_lane_id", table_name="deployments")
    op.drop_column("deployments", "held")
    for table in ("deployments", "deployed_services"):
        op.drop_column(table, "environment")

"""Decide which jobs can run when they are claimed, based on the running jobs and the config at that time.

Revision: 0006
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from deploy.adapters.migrations import function

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("services", sa.Column("concurrency", sa.Integer(), server_default=sa.text("1"), nullable=False))
    connection = op.get_bind()
    for service_id, data in connection.execute(sa.text("SELECT id, CAST(data AS text) FROM services")).all():
        connection.execute(
            sa.text("UPDATE services SET concurrency = :concurrency WHERE id = :id"),
            {"id": service_id, "concurrency": json.loads(data).get("concurrency", 1)},
        )
    for name in ("0006_admit_jobs", "0006_take_jobs", "0006_finish_job"):
        op.execute(function(name))


def downgrade() -> None:
    # Earlier versions have a single queue, and a finished job passes its lane to the next one.
    op.execute(
        "UPDATE procrastinate_jobs SET queue_name = 'deployments', lock = lock || '0' "
        "WHERE queue_name = 'waiting' AND status = 'todo'"
    )
    op.execute("DROP FUNCTION fastdeploy_take_jobs")
    op.execute("DROP FUNCTION fastdeploy_admit_jobs")
    op.drop_column("services", "concurrency")

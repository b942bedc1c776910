"""Add a function that finishes a job: it passes the lane to the next job, removes the job, and wakes the workers.

Revision: 0003
"""

from __future__ import annotations

from alembic import op

from deploy.adapters.migrations import function

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(function("0003_finish_job"))


def downgrade() -> None:
    op.execute("DROP FUNCTION fastdeploy_finish_job")

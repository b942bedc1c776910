"""Add a function that finishes a job: pass its lane to the next job, remove the job, wake the workers.

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

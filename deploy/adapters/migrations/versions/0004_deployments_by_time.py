"""Add an index to find deployments by time.

Revision: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_deployments_created", "deployments", ["created"])


def downgrade() -> None:
    op.drop_index("ix_deployments_created", table_name="deployments")

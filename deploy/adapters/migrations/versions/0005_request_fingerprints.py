"""Add fingerprints to recognize repeated requests whose secret values were deleted.

Revision: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deployments", sa.Column("request_fingerprint", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("deployments", "request_fingerprint")

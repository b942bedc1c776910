"""Store the config, file digests, secrets and expected duration of deployments.

Revision: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deployments", sa.Column("expected_seconds", sa.Double(), nullable=True))
    op.add_column("deployments", sa.Column("secret_inputs", sa.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.add_column("steps", sa.Column("expected_seconds", sa.Double(), nullable=True))
    op.create_table(
        "snapshots",
        sa.Column("deployment_id", sa.BigInteger(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name="fk_snapshots_deployment_id_deployments", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("deployment_id", name="pk_snapshots"),
    )
    op.create_table(
        "secrets",
        sa.Column("deployment_id", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name="fk_secrets_deployment_id_deployments", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("deployment_id", name="pk_secrets"),
    )


def downgrade() -> None:
    op.drop_table("secrets")
    op.drop_table("snapshots")
    op.drop_column("steps", "expected_seconds")
    op.drop_column("deployments", "secret_inputs")
    op.drop_column("deployments", "expected_seconds")

"""Store the results of steps on hosts as rows of their own.

Results of earlier steps stay where they are, because moving them would take minutes on a long history. They are
recognized by `host_counts`, which is null.

Revision: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("steps", sa.Column("host_counts", sa.JSON(), nullable=True))
    op.create_table(
        "host_results",
        sa.Column("deployment_id", sa.BigInteger(), nullable=False),
        sa.Column("step_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "ok",
                "changed",
                "skipped",
                "failed",
                "unreachable",
                "ignored",
                "rescued",
                name="outcome",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("duration", sa.Double(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("diff", sa.Text(), nullable=True),
        sa.Column("lines", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name="fk_host_results_deployment_id_deployments",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("deployment_id", "step_id", "host", name="pk_host_results"),
    )


def downgrade() -> None:
    # Earlier versions read the results from the steps.
    op.execute(
        "UPDATE steps SET hosts = found.results FROM (SELECT step_id, json_agg(json_build_object('host', host, "
        "'outcome', outcome, 'duration', duration, 'message', message, 'diff', diff) ORDER BY host) AS results "
        "FROM host_results GROUP BY step_id) AS found WHERE found.step_id = steps.id"
    )
    op.drop_table("host_results")
    op.drop_column("steps", "host_counts")

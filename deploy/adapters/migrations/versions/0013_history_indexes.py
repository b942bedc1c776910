"""Add an index for each set of columns that the history is read by, so that no read scans it.

Revision: 0013
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_deployments_service": "service_id, id",
    "ix_deployments_lane_state": "service_id, environment, state, id",
    "ix_deployments_lane_user_id": "service_id, environment, user_id, id",
    "ix_deployments_state": "state, id",
    "ix_deployments_service_state": "service_id, state, id",
    "ix_deployments_user_state": '"user", state, id',
    "ix_deployments_origin_state": "origin, state, id",
    "ix_deployments_service_user_state": 'service_id, "user", state, id',
    "ix_deployments_service_origin_state": "service_id, origin, state, id",
    "ix_deployments_user_origin_state": '"user", origin, state, id',
    "ix_deployments_service_user_origin_state": 'service_id, "user", origin, state, id',
    "ix_deployments_small_block": "(id >> 8), created",
    "ix_deployments_large_block": "(id >> 16), created",
    "ix_deployments_finished": "service_id, finished) WHERE (finished IS NOT NULL",
}
REPLACED = {
    "ix_deployments_service_id_id": "service_id, id DESC",
    "ix_deployments_lane_id": "service_id, environment, id DESC",
    "ix_deployments_lane_success": "service_id, environment, id DESC) WHERE (state = 'success'",
    "ix_deployments_created": "created",
}


def upgrade() -> None:
    replace(REPLACED, INDEXES)
    # Leave room in each page, so that the frequent updates of a running deployment do not have to touch any index.
    op.execute("ALTER TABLE deployments SET (fillfactor = 80)")


def downgrade() -> None:
    op.execute("ALTER TABLE deployments RESET (fillfactor)")
    replace(INDEXES, REPLACED)


def replace(old: dict[str, str], new: dict[str, str]) -> None:
    """Replace indexes. With more memory, sorting a million rows takes a second or two per index."""
    op.execute("SET LOCAL maintenance_work_mem = '256MB'")
    for name in old:
        op.drop_index(name, table_name="deployments")
    for name, columns in new.items():
        op.execute(f"CREATE INDEX {name} ON deployments ({columns})")

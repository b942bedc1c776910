"""Tie tokens and idempotency keys to their identities, and report user names that look alike.

Tokens of removed services, and config tokens of users who are no longer administrators, are revoked. The scope of an
idempotency key is a service and a user.

Revision: 0014
"""

from __future__ import annotations

import logging
import unicodedata
from collections import defaultdict

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

log = logging.getLogger("deploy.adapters.migrations")

INDEX = "uq_deployments_service_id_user_idempotency_key"
FORMER_INDEX = "uq_deployments_service_id_idempotency_key"
HAS_KEY = sa.text("idempotency_key IS NOT NULL")


def upgrade() -> None:
    op.execute(
        "UPDATE tokens SET revoked = now() FROM services "
        "WHERE services.id = tokens.service_id AND services.deleted IS NOT NULL AND tokens.revoked IS NULL"
    )
    op.execute(
        "UPDATE tokens SET revoked = now() FROM users "
        "WHERE users.id = tokens.user_id AND NOT users.is_admin AND tokens.kind = 'config' AND tokens.revoked IS NULL"
    )
    op.drop_index(FORMER_INDEX, "deployments")
    op.create_index(
        INDEX, "deployments", ["service_id", "user", "idempotency_key"], unique=True, postgresql_where=HAS_KEY
    )
    report_similar_names()


def report_similar_names() -> None:
    """Log the names of existing users that differ only in case or in the form of their characters."""
    similar = defaultdict(list)
    for (name,) in op.get_bind().execute(sa.text("SELECT name FROM users ORDER BY name")):
        similar[unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())].append(name)
    for names in similar.values():
        if len(names) > 1:
            log.warning(
                "These users have names that look alike: %s. Consider disabling all but one.", ", ".join(names)
            )


def downgrade() -> None:
    op.drop_index(INDEX, "deployments")
    op.create_index(
        FORMER_INDEX, "deployments", ["service_id", "idempotency_key"], unique=True, postgresql_where=HAS_KEY
    )

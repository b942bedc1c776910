"""Add groups and grants, and the tags of services.

The group `everyone` gets all permissions that every user had before.

Revision: 0015
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

PERMISSIONS = ("view", "deploy", "manage", "sync")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.add_column("services", sa.Column("tags", sa.ARRAY(sa.Text), nullable=False, server_default="{}"))
    copy_tags()
    op.create_table(
        "groups",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("is_everyone", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("created", moment, nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="pk_groups"),
        sa.UniqueConstraint("name", name="uq_groups_name"),
    )
    op.create_index(
        "uq_groups_everyone", "groups", ["is_everyone"], unique=True, postgresql_where=sa.text("is_everyone")
    )
    op.create_table(
        "group_members",
        sa.Column("group_id", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name="fk_group_members_group_id_groups", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_group_members_user_id_users", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("group_id", "user_id", name="pk_group_members"),
    )
    op.create_index("ix_group_members_user_id", "group_members", ["user_id"])
    create_grants(moment)
    op.execute("INSERT INTO groups (name, is_everyone) VALUES ('everyone', true)")
    op.execute(
        "INSERT INTO grants (permission, group_id, created_by) "
        "SELECT permission, groups.id, '' FROM groups, unnest(ARRAY['manage', 'sync']) AS permission"
    )


def copy_tags() -> None:
    """Copy the tags from the configs, which PostgreSQL cannot always parse."""
    connection = op.get_bind()
    for service_id, data in connection.execute(sa.text("SELECT id, CAST(data AS text) FROM services")).all():
        read = json.loads(data)
        tags = read.get("tags") if isinstance(read, dict) else None
        if isinstance(tags, list) and tags and all(isinstance(tag, str) and is_tag(tag) for tag in tags):
            connection.execute(
                sa.text("UPDATE services SET tags = :tags WHERE id = :id"), {"id": service_id, "tags": tags}
            )


def is_tag(text: str) -> bool:
    return 0 < len(text) <= 64 and text.isprintable() and text.strip() == text


def create_grants(moment: sa.DateTime) -> None:
    op.create_table(
        "grants",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), nullable=False),
        sa.Column(
            "permission",
            sa.Enum(*PERMISSIONS, name="permission", native_enum=False, length=16, create_constraint=True),
            nullable=False,
        ),
        sa.Column("user_id", sa.BigInteger),
        sa.Column("group_id", sa.BigInteger),
        sa.Column("service_id", sa.BigInteger),
        sa.Column("tag", sa.Text),
        sa.Column("environment", sa.Text),
        sa.Column("created", moment, nullable=False, server_default=sa.text("now()")),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_grants"),
        sa.CheckConstraint("(user_id IS NULL) <> (group_id IS NULL)", name="one_subject"),
        sa.CheckConstraint("service_id IS NULL OR tag IS NULL", name="one_object"),
        sa.CheckConstraint(
            "permission <> 'sync' OR (service_id IS NULL AND tag IS NULL AND environment IS NULL)", name="site_right"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_grants_user_id_users", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_grants_group_id_groups", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["service_id"], ["services.id"], name="fk_grants_service_id_services", ondelete="CASCADE"
        ),
        sa.UniqueConstraint(
            "user_id",
            "group_id",
            "service_id",
            "tag",
            "environment",
            "permission",
            name="uq_grants_all",
            postgresql_nulls_not_distinct=True,
        ),
    )
    for column in ("user_id", "group_id", "service_id"):
        op.create_index(f"ix_grants_{column}", "grants", [column])


def downgrade() -> None:
    for table in ("grants", "group_members", "groups"):
        op.drop_table(table)
    op.drop_column("services", "tags")

"""Alembic's entry point. It uses the connection passed to it, inside the caller's transaction."""

from __future__ import annotations

from alembic import context

from deploy.adapters.orm import metadata

FOREIGN_PREFIX = "procrastinate_"


def ours(name: str | None, kind: str, _parents: object) -> bool:
    """Exclude the queue's own tables from comparisons."""
    return not (kind == "table" and (name or "").startswith(FOREIGN_PREFIX))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_name=ours,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()

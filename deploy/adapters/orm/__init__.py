"""The database tables, and how the domain's classes are mapped to those with managed data (decision 0018)."""

from deploy.adapters.orm.mapping import MAPPED
from deploy.adapters.orm.tables import (
    audit,
    deployed_services,
    deployments,
    events,
    host_results,
    known_networks,
    metadata,
    password_attempts,
    secrets,
    services,
    sessions,
    snapshots,
    steps,
    tokens,
    users,
    worker_tasks,
    workers,
)

__all__ = [
    "MAPPED",
    "audit",
    "deployed_services",
    "deployments",
    "events",
    "host_results",
    "known_networks",
    "metadata",
    "password_attempts",
    "secrets",
    "services",
    "sessions",
    "snapshots",
    "steps",
    "tokens",
    "users",
    "worker_tasks",
    "workers",
]

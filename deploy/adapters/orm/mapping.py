"""Map the domain's classes to the tables with managed data. The classes themselves do not know about the database.

Tables of the stream of a run (deployments, steps, events, and the queue) are not mapped. There are no relationships:
queries say what they join.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, event
from sqlalchemy.orm import configure_mappers, registry

from deploy.adapters.orm import tables
from deploy.domain.model import BrowserSession, Grant, Group, Service, Token, User

MAPPED: dict[type[Any], Table] = {
    User: tables.users,
    BrowserSession: tables.sessions,
    Service: tables.services,
    Token: tables.tokens,
    Group: tables.groups,
    Grant: tables.grants,
}
# Columns that are no fields of the class.
_UNDER_OTHER_NAMES = {
    Service: {"stored_concurrency": tables.services.c.concurrency, "stored_tags": tables.services.c.tags}
}


def _store_columns(_mapper: object, _connection: object, service: Any) -> None:
    # Statements read them as columns: `data` can contain lone surrogates that PostgreSQL's JSON cannot read.
    service.stored_concurrency = service.concurrency
    service.stored_tags = list(service.config.tags)


def _map() -> None:
    mappings = registry(metadata=tables.metadata)
    for kind, table in MAPPED.items():
        mappings.map_imperatively(kind, table, properties=_UNDER_OTHER_NAMES.get(kind, {}))
    event.listen(Service, "before_insert", _store_columns)
    event.listen(Service, "before_update", _store_columns)
    configure_mappers()


_map()

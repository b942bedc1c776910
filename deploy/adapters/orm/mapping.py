"""Map the domain's classes to the tables with managed data. The classes themselves do not know about the database.

Tables of the stream of a run (deployments, steps, events, and the queue) are not mapped. There are no relationships:
queries say what they join.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, event
from sqlalchemy.orm import configure_mappers, registry

from deploy.adapters.orm import tables
from deploy.domain.model import BrowserSession, Service, Token, User

MAPPED: dict[type[Any], Table] = {
    User: tables.users,
    BrowserSession: tables.sessions,
    Service: tables.services,
    Token: tables.tokens,
}
# Columns that are no fields of the class.
_UNDER_OTHER_NAMES = {Service: {"stored_concurrency": tables.services.c.concurrency}}


def _store_concurrency(_mapper: object, _connection: object, service: Any) -> None:
    # The queue reads it as a column: `data` can contain lone surrogates that PostgreSQL's JSON cannot read.
    service.stored_concurrency = service.concurrency


def _map() -> None:
    mappings = registry(metadata=tables.metadata)
    for kind, table in MAPPED.items():
        mappings.map_imperatively(kind, table, properties=_UNDER_OTHER_NAMES.get(kind, {}))
    event.listen(Service, "before_insert", _store_concurrency)
    event.listen(Service, "before_update", _store_concurrency)
    configure_mappers()


_map()

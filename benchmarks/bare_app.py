"""The baseline for reads: a plain FastAPI application with an asyncpg pool and one query per endpoint.

It has no sign-in, limits, or security headers. Run it with `python -m benchmarks.bare_app DATABASE_URL PORT`.
`/models/…` returns the same data through response models, the other common way to write it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from deploy.domain import model
from deploy.domain.fields import sent

DEPLOYMENT_FIELDS = sent(model.Deployment)
COLUMNS = ", ".join(f'd."{name}"' for name in DEPLOYMENT_FIELDS)
DEPLOYMENTS = f"SELECT {COLUMNS} FROM deployments d ORDER BY d.id DESC LIMIT $1"
SERVICES = f"""
    SELECT s.id AS s_id, s.name AS s_name, s.data AS s_data, {COLUMNS}
    FROM services s
    LEFT JOIN LATERAL (SELECT * FROM deployments WHERE service_id = s.id ORDER BY id DESC LIMIT 1) d ON true
    WHERE s.deleted IS NULL ORDER BY s.name
"""


class Deployment(BaseModel):
    """A deployment."""

    id: int
    service_id: int
    service: str
    origin: str
    user: str
    state: str
    created: datetime
    started: datetime | None
    finished: datetime | None
    context: dict[str, Any]
    reason: str | None
    exit_code: int | None
    retry_of: int | None
    cancel_requested: str | None
    run_ended: datetime | None
    expected_seconds: float | None
    secret_inputs: list[str]
    seq: int
    lines: int
    environment: str
    held: dict[str, Any] | None


class Service(BaseModel):
    """A service."""

    id: int
    name: str
    data: dict[str, Any]
    last_deployment: Deployment | None
    active_deployments: list[Deployment]
    active_count: int


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deployment as JSON-compatible values."""
    return {name: iso(row[name]) if isinstance(row[name], datetime) else row[name] for name in DEPLOYMENT_FIELDS}


def iso(moment: datetime) -> str:
    """Return a time in the product's format."""
    return moment.isoformat().replace("+00:00", "Z")


async def read_json(connection: asyncpg.Connection) -> None:
    """Make asyncpg parse JSON columns."""
    await connection.set_type_codec("json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


def create_app(url: str) -> FastAPI:
    """Return the application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(url, min_size=10, max_size=10, init=read_json) as pool:
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/deployments/")
    async def deployments(request: Request, limit: int = 100) -> JSONResponse:
        rows = await request.app.state.pool.fetch(DEPLOYMENTS, limit)
        return JSONResponse([plain(row) for row in rows])

    @app.get("/services/")
    async def services(request: Request) -> JSONResponse:
        rows = await request.app.state.pool.fetch(SERVICES)
        return JSONResponse([_service(row, plain(row) if row["id"] is not None else None) for row in rows])

    @app.get("/models/deployments/")
    async def deployment_models(request: Request, limit: int = 100) -> list[Deployment]:
        rows = await request.app.state.pool.fetch(DEPLOYMENTS, limit)
        return [Deployment(**row) for row in rows]

    @app.get("/models/services/")
    async def service_models(request: Request) -> list[Service]:
        rows = await request.app.state.pool.fetch(SERVICES)
        return [Service(**_service(row, dict(row) if row["id"] is not None else None)) for row in rows]

    return app


def _service(row: Mapping[str, Any], last: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "id": row["s_id"],
        "name": row["s_name"],
        "data": row["s_data"],
        "last_deployment": last,
        "active_deployments": [],
        "active_count": 0,
    }


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[1]),
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )

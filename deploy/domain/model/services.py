"""Services, and what they left running."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from deploy.domain.service_config import ServiceConfig


@dataclass(eq=False)
class Service:
    """Something that can be deployed: a folder in the services root."""

    name: str
    data: dict[str, Any]
    readme: str | None = None
    updated: datetime | None = None
    deleted: datetime | None = None
    id: int = None  # type: ignore[assignment]

    @property
    def config(self) -> ServiceConfig:
        """Return the parsed `data`. It is parsed on first use, and again after `data` was replaced."""
        parsed: tuple[Any, ServiceConfig] | None = self.__dict__.get("_parsed")
        if parsed is None or parsed[0] is not self.data:
            parsed = self.__dict__["_parsed"] = (self.data, ServiceConfig.from_json(self.data))
        return parsed[1]

    @property
    def concurrency(self) -> int:
        """Return the number of the service's deployments that can run at the same time."""
        return self.config.concurrency


class Lane(NamedTuple):
    """What deployments queue for: a service in one of its environments, or ("") without an environment.

    Deployments of a lane run in order, at most as many at once as the service's `concurrency`. Planned steps, expected
    durations, previous values, and comparisons with the last success are based on deployments of the same lane.
    """

    service_id: int
    environment: str = ""


@dataclass(eq=False, slots=True)
class DeployedService:
    """What the last successful deployment of a lane left running."""

    deployment_id: int
    service_id: int
    config: dict[str, Any]
    environment: str = ""
    id: int = None  # type: ignore[assignment]

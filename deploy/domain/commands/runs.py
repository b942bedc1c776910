"""Commands of workers and of the upkeep."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from deploy.domain.commands.rule import RUN, UPKEEP, ObjectType, Rule
from deploy.domain.policy import Action
from deploy.domain.reports import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimDeployments:
    """Claim up to `limit` deployments that can run next, for a worker."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.SITE, unaudited=RUN)

    worker_id: str
    limit: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRun:
    """Add the deployment token to the secrets of a run that is about to start, and read all of them."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=RUN)

    deployment_id: int
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOutput:
    """Store the output of a run from `offset_before` to `offset`, which are byte offsets in its spool."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=RUN)

    deployment_id: int
    entries: tuple[Entry, ...]
    offset_before: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowOpenLine:
    """Show a line of output that has not ended yet to the clients that follow the deployment. It is not stored."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=RUN)

    deployment_id: int
    number: int
    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailLostRun:
    """End a run that can no longer be followed because its supervisor, run directory, or host is gone.

    `cause` is `lost`, or the reason the run had to end anyway: `timeout` or `cancelled`. A `note` is added to the log.
    """

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=UPKEEP)

    deployment_id: int
    reason: str
    cause: str = "lost"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireDeployments:
    """Delete a batch of old deployments of a service. Its config overrides these limits. 0 means no limit."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.SITE, unaudited=UPKEEP)

    service_id: int
    days: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Record that a worker is alive."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.SITE, unaudited=UPKEEP)

    worker_id: str
    host: str
    version: str
    slots: int

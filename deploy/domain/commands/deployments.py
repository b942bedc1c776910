"""Commands about deployments, including what their scripts report over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from deploy.domain.commands.rule import RUN, UPKEEP, ObjectType, Rule
from deploy.domain.inputs import CheckedValues
from deploy.domain.model import Held, StepReport
from deploy.domain.policy import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDeployment:
    """Queue a deployment of a service.

    `by_person` is True if a person starts it, who can `confirm` it with the service's name. `values` holds the checked
    values. For a retry, `again` holds the secrets that were given again, and `needed_again` the names of the secrets
    that the first deployment had. If `held` is given, the deployment does not enter the queue until it is released.
    """

    service_id: int
    origin: str
    user: str
    user_id: int | None
    context: dict[str, Any] = field(default_factory=dict, repr=False)
    idempotency_key: str | None = None
    retry_of: int | None = None
    by_person: bool = False
    confirm: str | None = None
    again: dict[str, Any] = field(default_factory=dict, repr=False)
    needed_again: tuple[str, ...] = ()
    values: CheckedValues | None = None
    environment: str = ""
    held: Held | None = None

    @property
    def rule(self) -> Rule:
        """Return the rule.

        Service tokens have their own action for starting deployments: they cannot confirm or retry.
        """
        action = Action.START_DEPLOYMENT if self.by_person else Action.START_AS_SERVICE
        return Rule(action, ObjectType.SERVICE, audited=("origin", "environment", "retry_of"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDeployment:
    """End the hold of a deployment and queue it."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, audited=("deployment_id",))

    deployment_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelDeployment:
    """Cancel a deployment, or remove it from the queue."""

    rule: ClassVar[Rule] = Rule(Action.CANCEL_DEPLOYMENT, ObjectType.DEPLOYMENT, audited=("deployment_id",))

    deployment_id: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStep:
    """Apply a step report that a script sent over HTTP."""

    rule: ClassVar[Rule] = Rule(Action.REPORT_STEP, ObjectType.DEPLOYMENT, unaudited=RUN)

    deployment_id: int
    report: StepReport


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishDeployment:
    """Finish a deployment whose script reported over HTTP that it is done."""

    rule: ClassVar[Rule] = Rule(Action.FINISH_DEPLOYMENT, ObjectType.DEPLOYMENT, unaudited=RUN)

    deployment_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepFiles:
    """Store the digests of a service's files at the start of a deployment, by path.

    None if there are too many files.
    """

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=RUN)

    deployment_id: int
    files: dict[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeueDeployment:
    """Queue a waiting deployment again because its job is missing.

    This happens after restoring a backup or changing the queue manually.
    """

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=UPKEEP)

    deployment_id: int

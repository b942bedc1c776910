"""What is stored, and how its state changes: one module per noun."""

from __future__ import annotations

from deploy.domain.model.deployments import ACTIVE, FINAL, Deployment, DeploymentState, Held
from deploy.domain.model.grants import Grant, Permission
from deploy.domain.model.groups import EVERYONE, Group
from deploy.domain.model.hosts import BAD_OUTCOMES, HostRecap, HostResult, HostSummary, Outcome, StepResult
from deploy.domain.model.services import DeployedService, Lane, Service
from deploy.domain.model.sessions import BrowserSession
from deploy.domain.model.steps import (
    FINAL_STEPS,
    OPEN_STEPS,
    Plan,
    PlannedStep,
    Step,
    StepReport,
    StepState,
)
from deploy.domain.model.tokens import Token, TokenKind
from deploy.domain.model.users import User

__all__ = [
    "ACTIVE",
    "BAD_OUTCOMES",
    "EVERYONE",
    "FINAL",
    "FINAL_STEPS",
    "OPEN_STEPS",
    "BrowserSession",
    "DeployedService",
    "Deployment",
    "DeploymentState",
    "Grant",
    "Group",
    "Held",
    "HostRecap",
    "HostResult",
    "HostSummary",
    "Lane",
    "Outcome",
    "Permission",
    "Plan",
    "PlannedStep",
    "Service",
    "Step",
    "StepReport",
    "StepResult",
    "StepState",
    "Token",
    "TokenKind",
    "User",
]

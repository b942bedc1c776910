"""Commands. Each has one handler in service_layer/handlers.

Each command class has a rule: the action it performs and the type of object it performs it on. The message bus loads
the object and checks that the actor is allowed to perform the action on it. If the rule requires it, the bus also
writes an audit entry in the same transaction.
"""

from __future__ import annotations

from typing import TypeAlias

from deploy.domain.commands.access import (
    ChangeAccess,
    CreateGroup,
    DeleteGroup,
    Membership,
    NewGrant,
    RenameGroup,
)
from deploy.domain.commands.deployments import (
    CancelDeployment,
    FinishDeployment,
    KeepFiles,
    ReleaseDeployment,
    ReportStep,
    RequeueDeployment,
    StartDeployment,
)
from deploy.domain.commands.rule import ObjectType, Rule
from deploy.domain.commands.runs import (
    ClaimDeployments,
    ExpireDeployments,
    FailLostRun,
    Heartbeat,
    IngestOutput,
    PrepareRun,
    ShowOpenLine,
)
from deploy.domain.commands.services import DeleteService, ServiceFolder, SyncServices
from deploy.domain.commands.sessions import EndSessions, OpenSession
from deploy.domain.commands.tokens import RegisterConfigToken, RegisterServiceToken, RevokeToken
from deploy.domain.commands.users import ChangeOwnPassword, ChangeUser, CreateUser

Command: TypeAlias = (
    CreateUser
    | ChangeUser
    | ChangeOwnPassword
    | ChangeAccess
    | CreateGroup
    | RenameGroup
    | DeleteGroup
    | OpenSession
    | EndSessions
    | RegisterServiceToken
    | RegisterConfigToken
    | RevokeToken
    | SyncServices
    | DeleteService
    | StartDeployment
    | ReleaseDeployment
    | CancelDeployment
    | IngestOutput
    | ShowOpenLine
    | ReportStep
    | FinishDeployment
    | ClaimDeployments
    | PrepareRun
    | KeepFiles
    | FailLostRun
    | RequeueDeployment
    | ExpireDeployments
    | Heartbeat
)

__all__ = [
    "CancelDeployment",
    "ChangeAccess",
    "ChangeOwnPassword",
    "ChangeUser",
    "ClaimDeployments",
    "Command",
    "CreateGroup",
    "CreateUser",
    "DeleteGroup",
    "DeleteService",
    "EndSessions",
    "ExpireDeployments",
    "FailLostRun",
    "FinishDeployment",
    "Heartbeat",
    "IngestOutput",
    "KeepFiles",
    "Membership",
    "NewGrant",
    "ObjectType",
    "OpenSession",
    "PrepareRun",
    "RegisterConfigToken",
    "RegisterServiceToken",
    "ReleaseDeployment",
    "RenameGroup",
    "ReportStep",
    "RequeueDeployment",
    "RevokeToken",
    "Rule",
    "ServiceFolder",
    "ShowOpenLine",
    "StartDeployment",
    "SyncServices",
]

"""What an actor needs in order to execute a command."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from deploy.domain.policy import Action


class ObjectType(str, Enum):
    """The types of objects that commands act on. Each value names the command field that identifies the object."""

    SITE = ""
    SERVICE = "service_id"
    SERVICE_NAME = "service_name"
    DEPLOYMENT = "deployment_id"
    USER = "user_id"
    GROUP = "group_id"
    TOKEN = "token_id"  # noqa: S105 - a field


@dataclass(frozen=True, slots=True)
class Rule:
    """What an actor needs in order to execute a command.

    `audited` lists the fields to include in the audit entry; they must not be secret. Commands that are not audited
    give the reason in `unaudited`.
    """

    action: Action
    on: ObjectType
    audited: tuple[str, ...] = ()
    unaudited: str = ""


RUN = "It belongs to the stream of a run, which the deployment records."
UPKEEP = "No one asked for it: it follows from settings, or from the state of the deployment, which records it."

"""All queries, one class per aggregate.

Classes for managed data use the SQLAlchemy session of a unit of work; the others use its connection (decision 0018).
"""

from deploy.adapters.repository.attempts import Attempts, BucketState
from deploy.adapters.repository.audit import Audit
from deploy.adapters.repository.batches import Batches, Change, Version
from deploy.adapters.repository.deployments import Deployments
from deploy.adapters.repository.events import CommittedEvents, EventReader, Events, StoredEvent
from deploy.adapters.repository.grants import Grants
from deploy.adapters.repository.groups import Groups
from deploy.adapters.repository.history import History
from deploy.adapters.repository.hosts import HostResults
from deploy.adapters.repository.inputs import PreviousValues
from deploy.adapters.repository.listings import Listings
from deploy.adapters.repository.plans import Plans
from deploy.adapters.repository.queue import Ahead, Queue
from deploy.adapters.repository.retention import Retention
from deploy.adapters.repository.secrets import Secrets
from deploy.adapters.repository.services import DeployedServices, Services
from deploy.adapters.repository.sessions import Sessions
from deploy.adapters.repository.steps import Steps
from deploy.adapters.repository.tokens import Tokens
from deploy.adapters.repository.users import Users
from deploy.adapters.repository.worker_tasks import Answer, WorkerTask, WorkerTasks
from deploy.adapters.repository.workers import Worker, Workers

__all__ = [
    "Ahead",
    "Answer",
    "Attempts",
    "Audit",
    "Batches",
    "BucketState",
    "Change",
    "CommittedEvents",
    "DeployedServices",
    "Deployments",
    "EventReader",
    "Events",
    "Grants",
    "Groups",
    "History",
    "HostResults",
    "Listings",
    "Plans",
    "PreviousValues",
    "Queue",
    "Retention",
    "Secrets",
    "Services",
    "Sessions",
    "Steps",
    "StoredEvent",
    "Tokens",
    "Users",
    "Version",
    "Worker",
    "WorkerTask",
    "WorkerTasks",
    "Workers",
]

"""Every repository method that reads what belongs to services requires the services that the caller can view."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from deploy.adapters import repository

# Classes whose rows belong to no service.
WITHOUT_SERVICES = {"Attempts", "Audit", "Grants", "Groups", "Sessions", "Users", "WorkerTasks", "Workers"}
# Methods that change something, or read only for tasks of the system. The bus authorizes the commands that use them.
INTERNAL = {
    "Batches": {"add", "next_id", "settle", "store", "store_all"},
    "Deployments": {"count_queued", "lost", "running_on", "to_run", "with_key", "without_job"},
    "EventReader": {"lane_of"},
    "Events": {"wake"},
    "History": {"keep_files"},
    "HostResults": {"tracked"},
    "Queue": {"finish", "has_waiting", "put", "put_new", "take", "wake", "withdraw"},
    "Retention": {"remove_old"},
    "Secrets": {"get", "put", "put_first", "remove"},
    "Services": {"add", "all_for_update", "all_for_upkeep", "store"},
    "Steps": {"open_of", "reserve_ids"},
    "Tokens": {"add", "find_valid", "get", "revoke", "revoke_config_tokens", "revoke_of_service", "touch"},
}


def methods() -> Iterator[tuple[str, str]]:
    for name in repository.__all__:
        kind = getattr(repository, name)
        for method, function in vars(kind).items():
            if inspect.iscoroutinefunction(function) and not method.startswith("_"):
                yield name, method


@pytest.mark.parametrize(("name", "method"), list(methods()))
def test_reads_require_the_visible_services(name: str, method: str) -> None:
    parameters = inspect.signature(getattr(getattr(repository, name), method)).parameters
    if name in WITHOUT_SERVICES or method in INTERNAL.get(name, set()):
        assert "visible" not in parameters
    else:
        assert parameters["visible"].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters["visible"].default is inspect.Parameter.empty


def test_exceptions_exist() -> None:
    known = set(methods())
    assert {(name, method) for name, exempt in INTERNAL.items() for method in exempt} <= known
    assert {name for name, _ in known} >= WITHOUT_SERVICES

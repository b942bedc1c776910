"""Rights for tests that need an actor without a database."""

from __future__ import annotations

from deploy.domain.model import Permission
from deploy.domain.rights import Granted, Rights, rights_of


def of_service(service_id: int, permission: Permission = Permission.MANAGE, environment: str | None = None) -> Rights:
    """Return a permission on one service, in one environment or in all of them."""
    return rights_of([Granted(permission, service_id, environment)])

"""Rules for names, origins, keys, and lifetimes. Handlers enforce them; schemas and commands show the same limits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from deploy.domain.errors import InvalidInput, TooManyWaiting
from deploy.domain.model.grants import Permission
from deploy.domain.service_config import MAX_TAG, is_tag

if TYPE_CHECKING:
    from deploy.domain.commands.access import NewGrant

MAX_USERNAME = 64
MAX_GROUP_NAME = 64
MAX_ENVIRONMENT = 64
MAX_ORIGIN = 200
MAX_KEY = 200
MAX_VALUES = 1000
WAITING_RETRY_SECONDS = 60
MAX_SERVICE_TOKEN_DAYS, MAX_CONFIG_TOKEN_DAYS = 180, 3650

INVALID_KEY = (
    f"Idempotency-Key must have 1 to {MAX_KEY} characters and must not be blank. Omit the header if not needed."
)
_ENVIRONMENT = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_ENVIRONMENT - 1}}}")
_USERNAME = re.compile(rf"[\w.@+-]{{1,{MAX_USERNAME}}}")


def check_username(name: str) -> None:
    """Check the name of a new user.

    Raises:
        InvalidInput: The name is too long or contains other characters.
    """
    if not _USERNAME.fullmatch(name):
        raise InvalidInput(
            f"A username must have 1 to {MAX_USERNAME} characters: letters, digits, or any of . _ @ + -"
        )


def check_group_name(name: str) -> None:
    """Check the name of a group.

    Raises:
        InvalidInput: The name is empty or too long, or contains characters that cannot be seen.
    """
    if not (0 < len(name) <= MAX_GROUP_NAME and name.isprintable() and name.strip() == name):
        raise InvalidInput(
            f"The name of a group must have 1 to {MAX_GROUP_NAME} printable characters, without spaces at its ends."
        )


def check_grant(grant: NewGrant) -> None:
    """Check a new grant.

    Raises:
        InvalidInput: The grant is not for exactly one user or group, or its object does not fit.
    """
    if (grant.user_id is None) == (grant.group_id is None):
        raise InvalidInput("A grant is for either a user or a group. Give one of them.")
    if grant.service_id is not None and grant.tag is not None:
        raise InvalidInput("A grant is valid for a service, for a tag, or for all services. Give a service or a tag.")
    if grant.tag is not None and not is_tag(grant.tag):
        raise InvalidInput(f"A tag must have 1 to {MAX_TAG} printable characters, without spaces at its ends.")
    if grant.environment is not None and not _ENVIRONMENT.fullmatch(grant.environment):
        raise InvalidInput(
            f"The name of an environment must have 1 to {MAX_ENVIRONMENT} characters: letters, digits, or any of . _ -"
        )
    if grant.permission is Permission.SYNC and (grant.service_id, grant.tag, grant.environment) != (None, None, None):
        raise InvalidInput("The permission to sync applies to the whole site. Omit the service, tag, and environment.")


def appearance(name: str) -> str:
    """Return the same text for names that differ only in case or in the form of their characters (NFKC)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def check_origin(origin: str) -> None:
    """Check the origin of a new token, or of a deployment that a person starts.

    Raises:
        InvalidInput: The origin is empty or too long.
    """
    if not 1 <= len(origin) <= MAX_ORIGIN:
        raise InvalidInput(f"The origin must have 1 to {MAX_ORIGIN} characters.")


def is_valid_key(key: str) -> bool:
    """Return True if an idempotency key can be used. All clients that send a blank one would share a deployment."""
    return bool(key.strip()) and len(key) <= MAX_KEY


def check_key(key: str | None) -> None:
    """Check an idempotency key, if there is one.

    Raises:
        InvalidInput: The key is blank or too long.
    """
    if key is not None and not is_valid_key(key):
        raise InvalidInput(INVALID_KEY)


@dataclass(frozen=True, slots=True)
class WaitingLimits:
    """How many deployments can wait at the same time."""

    per_service: int = 1000
    per_user: int = 5000

    @property
    def most(self) -> int:
        """The larger limit. Counting further is pointless."""
        return max(self.per_service, self.per_user)

    def check(self, service: str, of_service: int, of_user: int) -> None:
        """Check that another deployment of a service can wait, given the numbers that wait already.

        Raises:
            TooManyWaiting: A limit is reached.
        """
        for count, limit, whose in (
            (of_service, self.per_service, f"deployments of {service}"),
            (of_user, self.per_user, "of your deployments"),
        ):
            if count >= limit:
                raise TooManyWaiting(
                    f"{count} {whose} are already waiting, which is the maximum. Wait for some of them to start, or "
                    "cancel them.",
                    WAITING_RETRY_SECONDS,
                )


def check_lifetime(lifetime: timedelta, max_days: int) -> None:
    """Check the lifetime of a new token.

    Raises:
        InvalidInput: The token would already be expired, or it would live too long.
    """
    if not timedelta(0) < lifetime <= timedelta(days=max_days):
        raise InvalidInput(f"A token of this type must expire after 1 to {max_days} days.")


def check_number_of_values(values: Mapping[str, Any]) -> None:
    """Check the number of values of a deployment.

    Raises:
        InvalidInput: There are too many values.
    """
    if len(values) > MAX_VALUES:
        raise InvalidInput(f"`env` must have at most {MAX_VALUES} values (got {len(values)}).")

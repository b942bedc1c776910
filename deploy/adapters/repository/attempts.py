"""Store password attempts, counted in buckets, and the networks known to each account."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import (
    ARRAY,
    Column,
    Delete,
    LargeBinary,
    and_,
    any_,
    bindparam,
    case,
    delete,
    func,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters.orm import known_networks, password_attempts

# A reservation adds at most two rows and removes up to this many expired ones, so neither table keeps growing.
FORGET_AT_ONCE = 200
# A network in daily use is not written again at every sign-in.
EXTEND_EVERY = timedelta(days=1)

_BUCKETS, _NETWORKS = password_attempts, known_networks
_IS_OPEN = _BUCKETS.c.ends > bindparam("now")
_NEW_BUCKET = insert(_BUCKETS).values(bucket=bindparam("key"), attempts=1, failures=0, ends=bindparam("new_ends"))
# The row lock puts concurrent reservations of a bucket in order. For a full bucket, no row is returned.
_RESERVE = _NEW_BUCKET.on_conflict_do_update(
    index_elements=[_BUCKETS.c.bucket],
    set_={
        "attempts": case((_IS_OPEN, _BUCKETS.c.attempts + 1), else_=1),
        "failures": case((_IS_OPEN, _BUCKETS.c.failures), else_=0),
        "ends": case((_IS_OPEN, _BUCKETS.c.ends), else_=_NEW_BUCKET.excluded.ends),
    },
    where=or_(not_(_IS_OPEN), _BUCKETS.c.attempts < bindparam("limit")),
).returning(_BUCKETS.c.ends)
_STATES = select(_BUCKETS).where(_BUCKETS.c.bucket == any_(bindparam("keys", type_=ARRAY(LargeBinary))), _IS_OPEN)
# An attempt belongs to its own window: one that began in an earlier window does not change this one.
_OF_WINDOW = and_(_BUCKETS.c.bucket == bindparam("key"), _BUCKETS.c.ends == bindparam("window"))
_FAIL = update(_BUCKETS).where(_OF_WINDOW).values(failures=_BUCKETS.c.failures + 1)
_REFUND = update(_BUCKETS).where(_OF_WINDOW).values(attempts=_BUCKETS.c.attempts - 1)
_REFUND_LAST = delete(_BUCKETS).where(_OF_WINDOW, _BUCKETS.c.attempts <= 1)

_KNOWS = select(true()).where(_NETWORKS.c.key == bindparam("key"), _NETWORKS.c.expires > bindparam("now"))
_NEW_NETWORK = insert(_NETWORKS).values(key=bindparam("network"), expires=bindparam("until"))
_REMEMBER = _NEW_NETWORK.on_conflict_do_update(
    index_elements=[_NETWORKS.c.key],
    set_={"expires": _NEW_NETWORK.excluded.expires},
    where=_NETWORKS.c.expires < bindparam("due"),
)


def _forget(key: Column[bytes], ends: Column[datetime]) -> Delete:
    """Return a statement that deletes expired rows.

    It skips rows that another process is using, so that a cleanup never waits or deadlocks.
    """
    expired = select(key).where(ends <= bindparam("now")).order_by(ends).limit(FORGET_AT_ONCE)
    locked = expired.with_for_update(skip_locked=True).scalar_subquery()
    return delete(key.table).where(key == any_(func.array(locked)))


_FORGET = _forget(_BUCKETS.c.bucket, _BUCKETS.c.ends)
_FORGET_NETWORKS = _forget(_NETWORKS.c.key, _NETWORKS.c.expires)


class BucketState(NamedTuple):
    """How full a bucket is.

    `attempts` includes attempts that are still being checked. `failures` counts wrong passwords.
    """

    attempts: int
    failures: int
    ends: datetime


class Attempts:
    """Recent password attempts. Buckets and keys are hashes, and times come from the caller's clock."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def states(self, buckets: Sequence[bytes], now: datetime) -> dict[bytes, BucketState]:
        """Return the buckets whose window has not ended."""
        rows = await self._session.execute(_STATES, {"keys": list(buckets), "now": now})
        return {row.bucket: BucketState(row.attempts, row.failures, row.ends) for row in rows}

    async def reserve(self, bucket: bytes, limit: int, now: datetime, ends: datetime) -> datetime | None:
        """Count one attempt and return when its window ends, or None if the bucket is full. `ends` is for a new
        window.

        To avoid deadlocks, callers that reserve several buckets in one transaction must go through them in byte order.
        """
        found: datetime | None = await self._session.scalar(
            _RESERVE, {"key": bucket, "limit": limit, "now": now, "new_ends": ends}
        )
        return found

    async def refund(self, bucket: bytes, ends: datetime) -> None:
        """Refund an attempt."""
        await self._session.execute(_REFUND_LAST, {"key": bucket, "window": ends})
        await self._session.execute(_REFUND, {"key": bucket, "window": ends})

    async def fail(self, bucket: bytes, ends: datetime) -> None:
        """Record that an attempt used a wrong password."""
        await self._session.execute(_FAIL, {"key": bucket, "window": ends})

    async def forget_expired(self, now: datetime) -> None:
        """Delete expired buckets and networks, up to a limited number of each."""
        await self._session.execute(_FORGET, {"now": now})
        await self._session.execute(_FORGET_NETWORKS, {"now": now})

    async def knows_network(self, key: bytes, now: datetime) -> bool:
        """Return True if the account recently signed in from this network."""
        return bool(await self._session.scalar(_KNOWS, {"key": key, "now": now}))

    async def remember_network(self, key: bytes, expires: datetime) -> None:
        """Record that the account signed in from this network."""
        due = expires - EXTEND_EVERY
        await self._session.execute(_REMEMBER, {"network": key, "until": expires, "due": due})

"""Store password attempts, counted in buckets, and the networks known to each account."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from deploy.adapters.repository.statement import Statement

# A reservation adds at most two rows and removes up to this many expired ones, so neither table keeps growing.
FORGET_AT_ONCE = 200
# A network in daily use is not written again at every sign-in.
EXTEND_EVERY = timedelta(days=1)

# The row lock puts concurrent reservations of a bucket in order. For a full bucket, no row is returned.
_RESERVE = Statement(
    "INSERT INTO password_attempts AS known (bucket, attempts, failures, ends) VALUES (:bucket, 1, 0, :ends) "
    "ON CONFLICT (bucket) DO UPDATE SET "
    "attempts = CASE WHEN known.ends > :now THEN known.attempts + 1 ELSE 1 END, "
    "failures = CASE WHEN known.ends > :now THEN known.failures ELSE 0 END, "
    "ends = CASE WHEN known.ends > :now THEN known.ends ELSE EXCLUDED.ends END "
    "WHERE known.ends <= :now OR known.attempts < :limit RETURNING ends"
)
_STATES = Statement(
    "SELECT bucket, attempts, failures, ends FROM password_attempts WHERE bucket = ANY(:buckets) AND ends > :now"
)
# An attempt belongs to its own window: one that began in an earlier window does not change this one.
_FAIL = Statement("UPDATE password_attempts SET failures = failures + 1 WHERE bucket = :bucket AND ends = :ends")
_REFUND = Statement("UPDATE password_attempts SET attempts = attempts - 1 WHERE bucket = :bucket AND ends = :ends")
_REFUND_LAST = Statement("DELETE FROM password_attempts WHERE bucket = :bucket AND ends = :ends AND attempts <= 1")
# Skip rows that another process is using, so that a cleanup never waits or deadlocks.
_FORGET = Statement(
    "DELETE FROM password_attempts WHERE bucket = ANY(ARRAY(SELECT bucket FROM password_attempts "
    "WHERE ends <= :now ORDER BY ends LIMIT :limit FOR UPDATE SKIP LOCKED))"
)

_KNOWS = Statement("SELECT true FROM known_networks WHERE key = :key AND expires > :now")
_REMEMBER = Statement(
    "INSERT INTO known_networks AS known (key, expires) VALUES (:key, :expires) "
    "ON CONFLICT (key) DO UPDATE SET expires = EXCLUDED.expires WHERE known.expires < :due"
)
_FORGET_NETWORKS = Statement(
    "DELETE FROM known_networks WHERE key = ANY(ARRAY(SELECT key FROM known_networks "
    "WHERE expires <= :now ORDER BY expires LIMIT :limit FOR UPDATE SKIP LOCKED))"
)


class BucketState(NamedTuple):
    """How full a bucket is.

    `attempts` includes attempts that are still being checked. `failures` counts wrong passwords.
    """

    attempts: int
    failures: int
    ends: datetime


class Attempts:
    """Recent password attempts. Buckets and keys are hashes, and times come from the caller's clock."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def states(self, buckets: Sequence[bytes], now: datetime) -> dict[bytes, BucketState]:
        """Return the buckets whose window has not ended."""
        rows = await _STATES.rows(self._driver, buckets=list(buckets), now=now)
        return {row["bucket"]: BucketState(row["attempts"], row["failures"], row["ends"]) for row in rows}

    async def reserve(self, bucket: bytes, limit: int, now: datetime, ends: datetime) -> datetime | None:
        """Count one attempt and return when its window ends, or None if the bucket is full. `ends` is for a new
        window.

        To avoid deadlocks, callers that reserve several buckets in one transaction must go through them in byte order.
        """
        found: datetime | None = await _RESERVE.value(self._driver, bucket=bucket, limit=limit, now=now, ends=ends)
        return found

    async def refund(self, bucket: bytes, ends: datetime) -> None:
        """Refund an attempt."""
        await _REFUND_LAST.value(self._driver, bucket=bucket, ends=ends)
        await _REFUND.value(self._driver, bucket=bucket, ends=ends)

    async def fail(self, bucket: bytes, ends: datetime) -> None:
        """Record that an attempt used a wrong password."""
        await _FAIL.value(self._driver, bucket=bucket, ends=ends)

    async def forget_expired(self, now: datetime) -> None:
        """Delete expired buckets and networks, up to a limited number of each."""
        await _FORGET.value(self._driver, now=now, limit=FORGET_AT_ONCE)
        await _FORGET_NETWORKS.value(self._driver, now=now, limit=FORGET_AT_ONCE)

    async def knows_network(self, key: bytes, now: datetime) -> bool:
        """Return True if the account recently signed in from this network."""
        return bool(await _KNOWS.value(self._driver, key=key, now=now))

    async def remember_network(self, key: bytes, expires: datetime) -> None:
        """Record that the account signed in from this network."""
        await _REMEMBER.value(self._driver, key=key, expires=expires, due=expires - EXTEND_EVERY)

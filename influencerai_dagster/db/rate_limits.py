"""Limit how often something happens, by token buckets that all processes share.

A bucket holds `capacity` tokens and is refilled evenly. See Wikipedia's "Token bucket".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from influencerai_dagster.db.models.access import RateBucketRow

_KEPT = timedelta(days=1)
"""No bucket takes longer to be full again."""
_DELETED_AT_ONCE = 100
_TAKE = text("""
INSERT INTO rate_buckets AS bucket (key, tokens, updated_at)
VALUES (:key, CAST(:capacity AS float8) - 1, clock_timestamp())
ON CONFLICT (key) DO UPDATE SET updated_at = clock_timestamp(), tokens =
    LEAST(:capacity, bucket.tokens + :per_second
          * GREATEST(extract(epoch FROM clock_timestamp() - bucket.updated_at), 0)) - 1
 WHERE LEAST(:capacity, bucket.tokens + :per_second
          * GREATEST(extract(epoch FROM clock_timestamp() - bucket.updated_at), 0)) >= 1
RETURNING tokens, xmax = 0 AS is_new
""")
_LEFT = text("""
SELECT LEAST(:capacity, tokens + :per_second
       * GREATEST(extract(epoch FROM clock_timestamp() - updated_at), 0)) AS tokens
  FROM rate_buckets WHERE key = :key
""")
_RETURN = text("""
UPDATE rate_buckets SET tokens = LEAST(:capacity, tokens + 1) WHERE key = :key
""")


@dataclass(frozen=True)
class RateLimit:
    """How often something may happen.

    Attributes:
        capacity: how often at once.
        per_second: how many tokens come back in a second.
    """

    capacity: int
    per_second: float

    @classmethod
    def every(cls, capacity: int, seconds: float) -> "RateLimit":
        """Return the limit of `capacity` in so many seconds."""
        return cls(capacity, capacity / seconds)


@dataclass(frozen=True)
class Allowance:
    """Whether it may happen now.

    Attributes:
        remaining: how often it may happen again at once.
        retry_seconds: when a refused one may be tried again; 0 if it was not refused.
        reset_seconds: when the bucket is full again.
    """

    is_allowed: bool
    limit: RateLimit
    remaining: int
    retry_seconds: int
    reset_seconds: int


def take(session: Session, key: str, limit: RateLimit) -> Allowance:
    """Take a token, if there is one; two callers never take the same."""
    values = {"key": key, "capacity": limit.capacity, "per_second": limit.per_second}
    row = session.execute(_TAKE, values).one_or_none()
    if row is not None and row.is_new:
        _delete_old(session)
    if row is not None:
        return _allowance(limit, row.tokens, is_allowed=True)
    left: float = session.execute(_LEFT, values).scalar_one()
    return _allowance(limit, left, is_allowed=False)


def take_all(session: Session, limits: Mapping[str, RateLimit]) -> list[Allowance]:
    """Take a token from every bucket, or from none if one of them refuses.

    What is refused by a narrow bucket must not empty a wide one, which others share.

    Args:
        session: a transaction.
        limits: by the key of the bucket, the narrowest first.

    Returns:
        What each allows, up to the first that refuses.
    """
    taken: dict[str, Allowance] = {}
    for key, limit in limits.items():
        allowance = take(session, key, limit)
        if not allowance.is_allowed:
            for given in taken:
                put_back(session, given, limits[given])
            return [*taken.values(), allowance]
        taken[key] = allowance
    return list(taken.values())


def put_back(session: Session, key: str, limit: RateLimit) -> None:
    """Return a token that was taken for something that does not count."""
    session.execute(_RETURN, {"key": key, "capacity": limit.capacity})


def _allowance(limit: RateLimit, tokens: float, *, is_allowed: bool) -> Allowance:
    return Allowance(
        is_allowed,
        limit,
        remaining=int(tokens),
        retry_seconds=0 if is_allowed else max(1, math.ceil((1 - tokens) / limit.per_second)),
        reset_seconds=math.ceil((limit.capacity - tokens) / limit.per_second),
    )


def _delete_old(session: Session) -> None:
    """Delete full buckets: each new one makes place for itself."""
    old = (
        select(RateBucketRow.key)
        .where(RateBucketRow.updated_at < text("now() - CAST(:kept AS interval)"))
        .limit(_DELETED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    session.execute(
        delete(RateBucketRow)
        .where(RateBucketRow.key.in_(old))
        .execution_options(synchronize_session=False),
        {"kept": _KEPT},
    )

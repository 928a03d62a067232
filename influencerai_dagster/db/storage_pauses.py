"""Record pauses while the object store is full, and choose which worker probes for space.

Workers and the sensor probe in generation/storage_pauses.py.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.db.models.retention import StoragePauseRow
from influencerai_dagster.db.notifications import notify_work

_MAX_ERROR_LENGTH = 1000


@dataclass(frozen=True)
class StoragePause:
    """A store that is full."""

    bucket: str
    error: str
    since: datetime
    reported_at: datetime
    seconds: float


def report_full(session: Session, bucket: str, error: str) -> None:
    """Record that an upload found no space: no job is claimed from now on."""
    changes = {"error": error[:_MAX_ERROR_LENGTH], "reported_at": func.now()}
    statement = insert(StoragePauseRow).values(bucket=bucket, **changes)
    session.execute(statement.on_conflict_do_update(index_elements=["bucket"], set_=changes))


def current_pause(session: Session) -> StoragePause | None:
    """Return the current pause, or None."""
    found = session.execute(_current_pause()).first()
    if found is None:
        return None
    bucket, error, since, reported_at, elapsed = found
    return StoragePause(bucket, error, since, reported_at, float(elapsed))


@cache  # every claim asks
def _current_pause() -> Select[Any]:
    row = StoragePauseRow
    seconds = func.extract("epoch", func.now() - row.since)
    return select(row.bucket, row.error, row.since, row.reported_at, seconds).order_by(row.since)


def take_probe(session: Session, bucket: str, *, every_seconds: float) -> bool:
    """Return whether the caller is the one to probe now: only one does, and not too often."""
    statement = (
        update(StoragePauseRow)
        .where(
            StoragePauseRow.bucket == bucket,
            StoragePauseRow.probed_at <= func.now() - timedelta(seconds=every_seconds),
        )
        .values(probed_at=func.now())
        .returning(StoragePauseRow.bucket)
    )
    return session.scalar(statement) is not None


def end_pause(session: Session, bucket: str) -> None:
    """Record that there is space again, and notify the workers."""
    session.execute(delete(StoragePauseRow).where(StoragePauseRow.bucket == bucket))
    notify_work(session)

"""Register the workers that are alive, and the number of jobs that each could claim.

scheduling.py decides which jobs they get. A row is stale a few seconds after its newest poll.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.models.scheduling import GpuShareRow, WorkerRow

LIVE_SECONDS = 3.0
"""A worker polls every second; without a poll for so long, no slot is reserved for it."""

_STALE_SECONDS = 20.0


@dataclass(frozen=True)
class WorkerRegistration:
    """A worker of one tenant-day.

    Attributes:
        owner: its Dagster run id.
    """

    owner: str
    kind: JobKind
    tenant: str
    day: date


def is_live() -> ColumnElement[bool]:
    """Return the condition that a worker has polled recently."""
    return WorkerRow.polled_at > func.now() - timedelta(seconds=LIVE_SECONDS)


def poll(session: Session, worker: WorkerRegistration, num_wanted: int) -> None:
    """Register that a worker is alive, and how many jobs it could claim."""
    values = {
        "of_owner": worker.owner,
        "of_tenant": worker.tenant,
        "of_kind": worker.kind,
        "of_day": worker.day,
        "wanted": num_wanted,
    }
    session.execute(_poll_statement(), values)


@cache
def _poll_statement() -> Any:  # noqa: ANN401 - Insert of SQLAlchemy's own generics
    statement = insert(WorkerRow).values(
        owner=bindparam("of_owner"),
        tenant_id=bindparam("of_tenant"),
        kind=bindparam("of_kind"),
        day=bindparam("of_day"),
        num_wanted=bindparam("wanted"),
        polled_at=func.now(),
    )
    new = {name: statement.excluded[name] for name in ("num_wanted", "polled_at")}
    return statement.on_conflict_do_update(index_elements=[WorkerRow.owner], set_=new)


def unregister_worker(session: Session, owner: str) -> None:
    """Delete the row of a worker that has ended."""
    session.execute(delete(WorkerRow).where(WorkerRow.owner == owner))


def delete_stale_workers(session: Session) -> None:
    """Delete the rows of killed workers; one that comes back registers with its next poll."""
    limit = func.now() - timedelta(seconds=_STALE_SECONDS)
    session.execute(delete(WorkerRow).where(WorkerRow.polled_at < limit))


def has_earlier_worker(session: Session, worker: WorkerRegistration) -> bool:
    """Return whether another live worker has the same kind and tenant-day."""
    statement = select(WorkerRow.owner).where(
        WorkerRow.tenant_id == worker.tenant,
        WorkerRow.kind == worker.kind,
        WorkerRow.day == worker.day,
        WorkerRow.owner != worker.owner,
        is_live(),
    )
    return session.scalar(select(statement.exists())) or False


def live_workers(session: Session) -> set[tuple[JobKind, DayKey]]:
    """Return what the live workers render: a kind and a tenant-day each."""
    rows = session.execute(
        select(WorkerRow.kind, WorkerRow.tenant_id, WorkerRow.day).where(is_live())
    )
    return {(JobKind(row.kind), DayKey(row.tenant_id, row.day)) for row in rows}


def num_workers_with_more(session: Session, worker: WorkerRegistration) -> int:
    """Count the live workers of tenants that used more GPU time by weight than this one's."""
    mine = select(GpuShareRow.finish_tag).where(GpuShareRow.tenant_id == worker.tenant)
    statement = (
        select(func.count())
        .select_from(WorkerRow)
        .join(GpuShareRow, GpuShareRow.tenant_id == WorkerRow.tenant_id)
        .where(
            WorkerRow.kind == worker.kind,
            WorkerRow.owner != worker.owner,
            is_live(),
            GpuShareRow.finish_tag > func.coalesce(mine.scalar_subquery(), 0.0),
        )
    )
    return session.scalar(statement) or 0

"""The drains that are at work now: who they are, and what they would take.

Which jobs they get is decided in scheduling.py. A row is only as good as its last poll.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.db.models.scheduling import DrainRow, GpuShareRow

LIVE_SECONDS = 3.0
"""A drain polls every second; after so long without, no slot is kept free for it."""

_FORGOTTEN_SECONDS = 20.0


@dataclass(frozen=True)
class Drain:
    """A worker that drains one tenant-day.

    Attributes:
        owner: its Dagster run id.
    """

    owner: str
    kind: JobKind
    tenant: str
    day: date


def is_live() -> ColumnElement[bool]:
    """Return the condition that a drain polled lately."""
    return DrainRow.polled_at > func.now() - timedelta(seconds=LIVE_SECONDS)


def poll(session: Session, drain: Drain, num_wanted: int) -> None:
    """Say that a drain is alive, and how many jobs it would take."""
    values = {
        "of_owner": drain.owner,
        "of_tenant": drain.tenant,
        "of_kind": drain.kind,
        "of_day": drain.day,
        "wanted": num_wanted,
    }
    session.execute(_poll_statement(), values)


@cache
def _poll_statement() -> Any:  # noqa: ANN401 - Insert of SQLAlchemy's own generics
    statement = insert(DrainRow).values(
        owner=bindparam("of_owner"),
        tenant_id=bindparam("of_tenant"),
        kind=bindparam("of_kind"),
        day=bindparam("of_day"),
        num_wanted=bindparam("wanted"),
        polled_at=func.now(),
    )
    new = {name: statement.excluded[name] for name in ("num_wanted", "polled_at")}
    return statement.on_conflict_do_update(index_elements=[DrainRow.owner], set_=new)


def end_drain(session: Session, owner: str) -> None:
    """Say that a drain has ended."""
    session.execute(delete(DrainRow).where(DrainRow.owner == owner))


def forget_silent_drains(session: Session) -> None:
    """Remove what killed workers left; one that comes back is there again with its next poll."""
    limit = func.now() - timedelta(seconds=_FORGOTTEN_SECONDS)
    session.execute(delete(DrainRow).where(DrainRow.polled_at < limit))


def is_drained_by_another(session: Session, drain: Drain) -> bool:
    """Tell whether another live drain has the same kind of jobs of the same tenant-day."""
    statement = select(DrainRow.owner).where(
        DrainRow.tenant_id == drain.tenant,
        DrainRow.kind == drain.kind,
        DrainRow.day == drain.day,
        DrainRow.owner != drain.owner,
        is_live(),
    )
    return session.scalar(select(statement.exists())) or False


def num_drains_with_more(session: Session, drain: Drain) -> int:
    """Count the live drains whose tenants had more of the GPUs than this drain's, by weight."""
    mine = select(GpuShareRow.finish_tag).where(GpuShareRow.tenant_id == drain.tenant)
    statement = (
        select(func.count())
        .select_from(DrainRow)
        .join(GpuShareRow, GpuShareRow.tenant_id == DrainRow.tenant_id)
        .where(
            DrainRow.kind == drain.kind,
            DrainRow.owner != drain.owner,
            is_live(),
            GpuShareRow.finish_tag > func.coalesce(mine.scalar_subquery(), 0.0),
        )
    )
    return session.scalar(statement) or 0

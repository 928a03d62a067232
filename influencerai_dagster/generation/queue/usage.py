"""Count what a tenant's jobs are and took."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import check_part
from influencerai_dagster.db.models.jobs import JobRow

_LONGEST_MONTH = timedelta(days=31)


@dataclass(frozen=True)
class MonthUsage:
    """What the jobs of a month took.

    Attributes:
        gpu_seconds: render time over all attempts.
        jobs: how many are in each status, zeros too.
    """

    gpu_seconds: float
    cost_usd: Decimal
    jobs: Mapping[JobStatus, int]


def counts_by_kind(session: Session, tenant: str) -> dict[JobKind, dict[JobStatus, int]]:
    """Return how many jobs of each kind are in every status, zeros too."""
    rows = session.execute(
        select(JobRow.kind, JobRow.status, func.count())
        .where(JobRow.tenant_id == check_part(tenant, "tenant"))
        .group_by(JobRow.kind, JobRow.status)
    )
    counts = {kind: dict.fromkeys(JobStatus, 0) for kind in JobKind}
    for kind, status, count in rows:
        counts[JobKind(kind)][JobStatus(status)] = count
    return counts


def usage_of_month(session: Session, tenant: str, first: date) -> MonthUsage:
    """Return what the jobs of a month took.

    Args:
        tenant: whose jobs.
        first: the first day of the month.
    """
    after = (first + _LONGEST_MONTH).replace(day=1)
    rows = session.execute(
        select(
            JobRow.status,
            func.count().label("number"),
            func.sum(JobRow.gpu_seconds).label("gpu_seconds"),
            func.sum(JobRow.cost_usd).label("cost_usd"),
        )
        .where(
            JobRow.tenant_id == check_part(tenant, "tenant"),
            JobRow.day >= first,
            JobRow.day < after,
        )
        .group_by(JobRow.status)
    ).all()
    return MonthUsage(
        gpu_seconds=sum(row.gpu_seconds for row in rows),
        cost_usd=sum((row.cost_usd for row in rows), Decimal(0)),
        jobs=dict.fromkeys(JobStatus, 0) | {JobStatus(row.status): row.number for row in rows},
    )

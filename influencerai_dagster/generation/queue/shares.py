"""Charge tenants for renders: with the mean when a job is claimed, corrected when it is measured.

generation/queue/fairness.py explains the numbers.
"""

from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Double,
    Select,
    bindparam,
    cast,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.db.models.content import TenantRow
from influencerai_dagster.db.models.jobs import JobRow
from influencerai_dagster.db.models.scheduling import GpuShareRow
from influencerai_dagster.db.notifications import work_notification
from influencerai_dagster.generation.queue.fairness import NEWEST_SHARE, Share


def mean_seconds(kind: JobKind) -> ColumnElement[float]:
    """Return the mean render time of a kind in a tenant's row; NULL before its first render."""
    return cast(GpuShareRow.mean_seconds[kind.value].astext, Double)


def charge(session: Session, share: Share, now: float, num_jobs: int) -> None:
    """Charge a tenant for jobs that it claims at this virtual time."""
    paid = max(now, share.finish_tag) + num_jobs * share.cost
    statement = insert(GpuShareRow).values(
        tenant_id=share.tenant, start_tag=paid - share.cost, finish_tag=paid
    )
    # A settlement at the same time moves finish_tag too: add to it, do not replace it.
    grown = func.greatest(GpuShareRow.finish_tag, now) + num_jobs * share.cost
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[GpuShareRow.tenant_id],
            set_={"start_tag": grown - share.cost, "finish_tag": grown},
        )
    )


def settle(session: Session, row: JobRow, used_seconds: float, *, is_whole: bool) -> None:
    """Correct the charge of a claim to the measured time, and notify workers of the free slot.

    The job's charge is 0 afterwards.

    Args:
        row: the job, locked.
        used_seconds: measured render time of this claim.
        is_whole: it is the time of a whole render, so that it moves the mean.
    """
    values = {
        "of_tenant": row.tenant_id,
        "used": used_seconds,
        "more": used_seconds - row.charged_seconds,
    }
    row.charged_seconds = 0.0
    session.flush()  # first, so that the tenant's row is locked for as short as possible
    session.execute(_settle_statement(JobKind(row.kind), is_whole=is_whole), values)


@cache
def _settle_statement(kind: JobKind, *, is_whole: bool) -> Select[Any]:
    used, more = (bindparam(name, type_=Double) for name in ("used", "more"))
    tenant: BindParameter[str] = bindparam("of_tenant")
    weight = select(TenantRow.gpu_weight).where(TenantRow.id == tenant).scalar_subquery()
    changes: dict[Any, Any] = {
        GpuShareRow.finish_tag: GpuShareRow.finish_tag + more / weight,
        GpuShareRow.used_seconds: GpuShareRow.used_seconds + used,
    }
    if is_whole:
        mean = mean_seconds(kind)
        newest = func.coalesce(mean + NEWEST_SHARE * (used - mean), used)
        changes[GpuShareRow.mean_seconds] = GpuShareRow.mean_seconds.concat(
            func.jsonb_build_object(kind.value, newest)
        )
    settled = update(GpuShareRow).where(GpuShareRow.tenant_id == tenant).values(changes)
    return work_notification().add_cte(settled.cte("settled"))  # one round trip for both

"""Set what keeps a tenant's images and videos: its legal holds, and its days of retention.

A hold that is set while retention runs is never missed: deletions share a lock on the tenant's row,
and setting a hold waits for that lock.
"""

from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from influencerai_dagster.core.keys import check_part
from influencerai_dagster.db.models.content import TenantRow
from influencerai_dagster.db.models.jobs import MediaAssetRow
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.retention.rules import TenantRetention

MAX_RETENTION_DAYS = 36500


def tenant_retentions(session: Session, default_days: int) -> dict[str, TenantRetention]:
    """Return the days and the hold of every tenant."""
    rows = session.execute(select(TenantRow.id, TenantRow.retention_days, TenantRow.is_on_hold))
    return {
        row.id: TenantRetention(row.retention_days or default_days, is_on_hold=row.is_on_hold)
        for row in rows
    }


def is_on_hold(session: Session, tenant: str) -> bool:
    """Whether the tenant is on hold; no hold can be set until the transaction ends."""
    statement = select(TenantRow.is_on_hold).where(TenantRow.id == tenant)
    return session.scalar(statement.with_for_update(read=True)) is not False


def set_retention_days(session: Session, tenant: str, days: int | None) -> None:
    """Set how long a tenant's images and videos are kept; None for RETENTION_DAYS.

    Raises:
        PermanentError: unknown tenant, or not 1 to 36500 days.
    """
    require_tenant(session, tenant)
    if days is not None and not 1 <= days <= MAX_RETENTION_DAYS:
        raise PermanentError(
            f"retention of {days} days is not allowed: use 1 to {MAX_RETENTION_DAYS}"
        )
    session.execute(update(TenantRow).where(TenantRow.id == tenant).values(retention_days=days))


def set_tenant_hold(session: Session, tenant: str, *, is_on_hold: bool) -> None:
    """Set or end the legal hold on everything of a tenant; waits for deletions that run."""
    require_tenant(session, tenant)
    statement = update(TenantRow).where(TenantRow.id == tenant)
    session.execute(statement.values(is_on_hold=is_on_hold))


def set_job_hold(session: Session, tenant: str, job_id: UUID, *, is_on_hold: bool) -> None:
    """Set or end the legal hold of one image or video; waits for deletions that run.

    Raises:
        PermanentError: the tenant has no output of such a job.
    """
    statement = (
        update(MediaAssetRow)
        .where(
            MediaAssetRow.tenant_id == check_part(tenant, "tenant"), MediaAssetRow.job_id == job_id
        )
        .values(is_on_hold=is_on_hold)
        .returning(MediaAssetRow.job_id)
    )
    if session.scalar(statement) is None:
        raise PermanentError(
            f"tenant {tenant!r} has no image or video of job {job_id}; `influencerai jobs list` "
            "shows its jobs"
        )

"""Removing everything that the catalog has of a tenant: every row of every table, in one go."""

from sqlalchemy import Table, delete, func, select
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import (
    JobStatus,
)
from influencerai_dagster.core.keys import check_part
from influencerai_dagster.db.models.content import CatalogModel, TenantRow
from influencerai_dagster.db.models.jobs import JobRow, MediaAssetRow
from influencerai_dagster.db.tenants import unknown_tenant
from influencerai_dagster.errors import PermanentError

_OPEN = (JobStatus.PENDING, JobStatus.RUNNING)


def count_rows(session: Session, tenant: str) -> dict[str, int]:
    """Return how many rows each table has of a tenant, without the tenant's own."""
    return {
        table.name: session.scalar(
            select(func.count()).select_from(table).where(table.c.tenant_id == tenant)
        )
        or 0
        for table in _tables_of_tenants()
    }


def check_removable(session: Session, tenant: str) -> None:
    """Lock a tenant, so that no hold is set and no job comes, and check that it may be removed.

    Raises:
        PermanentError: unknown tenant, a legal hold, or jobs that have not ended.
    """
    row = session.scalar(
        select(TenantRow).where(TenantRow.id == check_part(tenant, "tenant")).with_for_update()
    )
    if row is None:
        raise unknown_tenant(session, tenant)
    # Every row is locked: a hold that is being set on a file is waited for, and seen.
    holds = select(MediaAssetRow.is_on_hold).where(MediaAssetRow.tenant_id == tenant)
    num_held = sum(session.scalars(holds.with_for_update()))
    if row.is_on_hold or num_held:
        what = "all that it has" if row.is_on_hold else f"{num_held} of its images and videos"
        raise PermanentError(
            f"tenant {tenant!r} is not removed: a legal hold keeps {what}. `influencerai retention "
            f"release --tenant {tenant}` ends it, with --job for a single file"
        )
    num_open = session.scalar(
        select(func.count()).where(JobRow.tenant_id == tenant, JobRow.status.in_(_OPEN))
    )
    if num_open:
        raise PermanentError(
            f"tenant {tenant!r} is not removed: {num_open} of its jobs have not ended. Wait for "
            f"them, or `influencerai jobs cancel --all --tenant {tenant}`"
        )


def remove_rows(session: Session, tenant: str) -> None:
    """Delete every row of a tenant and the tenant; see `check_removable` for what it raises."""
    check_removable(session, tenant)
    for table in _tables_of_tenants():
        session.execute(delete(table).where(table.c.tenant_id == tenant))
    session.execute(delete(TenantRow).where(TenantRow.id == tenant))


def _tables_of_tenants() -> list[Table]:
    """Return the tables that name a tenant, those first whose rows refer to others."""
    tables = reversed(CatalogModel.metadata.sorted_tables)
    return [table for table in tables if "tenant_id" in table.c]

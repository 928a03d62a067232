"""Remove a tenant from the stores: all its rows at once, then every object below its prefixes.

Dagster's partitions are removed by dagster_client/tenant_removal.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Engine, Table, delete, func, select, text
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import OPEN_STATUSES
from influencerai_dagster.core.keys import check_part
from influencerai_dagster.core.object_paths import tenant_prefixes
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.models.content import CatalogModel, TenantRow
from influencerai_dagster.db.models.jobs import JobRow, MediaAssetRow
from influencerai_dagster.db.tenants import unknown_tenant
from influencerai_dagster.errors import PermanentError, UnknownNameError
from influencerai_dagster.storage.multipart import abort_upload, incomplete_uploads
from influencerai_dagster.storage.object_store import ObjectStore

_ALLOW_AUDIT_REMOVAL = text("SELECT set_config('influencerai.removed_tenant', :tenant, true)")
"""The audit log is append-only, but for this."""


@dataclass(frozen=True)
class StoredContents:
    """What the catalog and the bucket have of a tenant.

    Attributes:
        is_in_catalog: False where an earlier removal was stopped half-way.
        rows: table → number of its rows.
        objects: prefix → number of objects.
        size_bytes: of all objects.
    """

    tenant: str
    is_in_catalog: bool
    rows: Mapping[str, int]
    objects: Mapping[str, int]
    size_bytes: int


def tenant_contents(
    engine: Engine, store: ObjectStore, tenant: str, *, has_more: bool
) -> StoredContents:
    """Return what there is of a tenant; writes nothing.

    Args:
        engine: of the catalog.
        store: the bucket of assets.
        tenant: its name.
        has_more: whether something else is left of it, so that it was a tenant.

    Raises:
        PermanentError: it may not be removed now (a legal hold, open jobs), or nothing at all is
            there of such a tenant.
    """
    prefixes = tenant_prefixes(tenant)
    listed = {prefix: [item.size_bytes for item in store.list(prefix)] for prefix in prefixes}
    with transaction(engine) as session:
        try:
            check_removable(session, tenant)
            is_in_catalog = True
        except UnknownNameError:
            is_in_catalog = False
            if not has_more and not any(listed.values()):
                raise unknown_tenant(session, tenant) from None
        rows = count_rows(session, tenant)
    return StoredContents(
        tenant,
        is_in_catalog,
        rows={table: number for table, number in rows.items() if number},
        objects={prefix: len(sizes) for prefix, sizes in listed.items() if sizes},
        size_bytes=sum(sum(sizes) for sizes in listed.values()),
    )


def remove_tenant(engine: Engine, store: ObjectStore, contents: StoredContents) -> int:
    """Remove a tenant; the same again goes on where it was stopped.

    Returns:
        How many objects were deleted.

    Raises:
        PermanentError: a hold was set or a job came meanwhile; nothing was deleted.
        TransientError: PostgreSQL or S3 did not answer; call it again.
    """
    if contents.is_in_catalog:
        with transaction(engine) as session:
            remove_rows(session, contents.tenant)
    number = 0
    for prefix in tenant_prefixes(contents.tenant):
        for _ in store.map(store.delete, [item.key for item in store.list(prefix)]):
            number += 1
    for upload in incomplete_uploads(store):
        if upload.key.startswith(tuple(tenant_prefixes(contents.tenant))):
            abort_upload(store, upload)
    return number


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
        select(func.count()).where(JobRow.tenant_id == tenant, JobRow.status.in_(OPEN_STATUSES))
    )
    if num_open:
        raise PermanentError(
            f"tenant {tenant!r} is not removed: {num_open} of its jobs have not ended. Wait for "
            f"them, or `influencerai jobs cancel --all --tenant {tenant}`"
        )


def remove_rows(session: Session, tenant: str) -> None:
    """Delete every row of a tenant and the tenant; see `check_removable` for what it raises."""
    check_removable(session, tenant)
    session.execute(_ALLOW_AUDIT_REMOVAL, {"tenant": tenant})
    for table in _tables_of_tenants():
        session.execute(delete(table).where(table.c.tenant_id == tenant))
    session.execute(delete(TenantRow).where(TenantRow.id == tenant))


def _tables_of_tenants() -> list[Table]:
    """Return the tables that name a tenant, those first whose rows refer to others."""
    tables = reversed(CatalogModel.metadata.sorted_tables)
    return [table for table in tables if "tenant_id" in table.c]

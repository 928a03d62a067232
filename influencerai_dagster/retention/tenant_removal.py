"""Removing a tenant from the stores: its rows first, then every object below its prefixes.

Dagster's partitions are removed by dagster_client/tenant_removal.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Engine

from influencerai_dagster.core.object_paths import tenant_prefixes
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import unknown_tenant
from influencerai_dagster.errors import UnknownNameError
from influencerai_dagster.retention.tenant_rows import check_removable, count_rows, remove_rows
from influencerai_dagster.storage.multipart import abort_upload, incomplete_uploads
from influencerai_dagster.storage.object_store import ObjectStore


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

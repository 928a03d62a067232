"""The newest validated version of every dataset; all versions are manifests on S3."""

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.catalog.models import DatasetRow
from influencerai_dagster.catalog.records import Dataset
from influencerai_dagster.catalog.tenants import require_tenant
from influencerai_dagster.domain.keys import check_part
from influencerai_dagster.domain.manifests.dataset import DatasetManifest


def record_dataset(session: Session, manifest: DatasetManifest) -> Dataset:
    """Make this the newest version of its dataset; the same one again changes nothing.

    Raises:
        PermanentError: unknown tenant.
    """
    require_tenant(session, manifest.tenant)
    changes = {
        "version": manifest.version,
        "manifest_key": manifest.object_key(),
        "num_images": len(manifest.images),
        "num_rejected": len(manifest.rejected),
    }
    statement = (
        insert(DatasetRow)
        .values(tenant_id=manifest.tenant, id=manifest.dataset, **changes)
        .on_conflict_do_update(
            index_elements=["tenant_id", "id"],
            set_={**changes, "updated_at": func.now()},
            where=DatasetRow.version != manifest.version,
        )
    )
    session.execute(statement)
    identity = (manifest.tenant, manifest.dataset)
    return Dataset.of(session.get_one(DatasetRow, identity, populate_existing=True))


def get_dataset(session: Session, tenant: str, dataset: str) -> Dataset | None:
    """Return the newest version, or None if the dataset was never validated."""
    row = session.get(
        DatasetRow,
        (check_part(tenant, "tenant"), check_part(dataset, "dataset")),
        populate_existing=True,
    )
    return None if row is None else Dataset.of(row)

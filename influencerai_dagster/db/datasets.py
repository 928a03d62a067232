"""Record the newest validated version of every dataset; all versions are manifests on S3."""

from collections.abc import Iterable

from sqlalchemy import func, select, union
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.keys import check_part
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.core.names import unknown_name
from influencerai_dagster.db.models.content import DatasetRow, InfluencerRow
from influencerai_dagster.db.records import Dataset
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.errors import UnknownNameError


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


def list_datasets(session: Session, tenant: str) -> list[Dataset]:
    """Return the newest version of every validated dataset of a tenant, by name.

    Raises:
        PermanentError: unknown tenant.
    """
    require_tenant(session, tenant)
    statement = select(DatasetRow).where(DatasetRow.tenant_id == tenant).order_by(DatasetRow.id)
    return [Dataset.of(row) for row in session.scalars(statement)]


def known_datasets(session: Session, tenant: str) -> set[str]:
    """Return the datasets that the catalog knows: validated ones, and those of influencers."""
    names = union(
        select(DatasetRow.id).where(DatasetRow.tenant_id == tenant),
        select(InfluencerRow.dataset).where(InfluencerRow.tenant_id == tenant),
    )
    return set(session.scalars(names))


def unknown_dataset(tenant: str, dataset: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a dataset that is not among the known ones of a tenant."""
    return unknown_name(
        f"tenant {tenant!r} has no dataset {dataset!r}",
        dataset,
        known,
        plural="datasets",
        advice=f"Upload its photos: `influencerai dataset upload {dataset} --tenant {tenant}`",
    )

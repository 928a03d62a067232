"""Read the images and videos of a tenant, page by page."""

from datetime import date
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import check_part
from influencerai_dagster.db.models.jobs import JobRow, MediaAssetRow
from influencerai_dagster.generation.queue.records import FRESH, MediaAsset


def get_media_asset(session: Session, tenant: str, asset_id: UUID) -> MediaAsset | None:
    """Return an image or video by its id, also a deleted one; None if the tenant has none."""
    row = session.get(
        MediaAssetRow, (check_part(tenant, "tenant"), asset_id), populate_existing=True
    )
    return None if row is None else MediaAsset.of(row)


def list_media_assets(
    session: Session,
    tenant: str,
    *,
    dataset: str | None = None,
    day: date | None = None,
    kind: JobKind | None = None,
    before: MediaAsset | None = None,
    limit: int = 100,
) -> list[MediaAsset]:
    """Return images and videos that retention has not deleted, newest first.

    Args:
        dataset: only those that a LoRA of this dataset was used for, or whose source image was.
        day: only of jobs of this day.
        kind: only of jobs of this kind.
        before: only older ones; the last of a page gives the next page.
        limit: at most so many.
    """
    source = aliased(JobRow)
    statement = (
        select(MediaAssetRow)
        .join(JobRow, JobRow.id == MediaAssetRow.job_id)
        .where(
            MediaAssetRow.tenant_id == check_part(tenant, "tenant"),
            JobRow.tenant_id == tenant,
            MediaAssetRow.deleted_at.is_(None),
        )
        .order_by(MediaAssetRow.created_at.desc(), MediaAssetRow.id.desc())
        .limit(limit)
    )
    if dataset is not None:
        statement = statement.outerjoin(
            source, (source.id == JobRow.depends_on) & (source.tenant_id == tenant)
        ).where(or_(*(_uses(row, check_part(dataset, "dataset")) for row in (JobRow, source))))
    if day is not None:
        statement = statement.where(JobRow.day == day)
    if kind is not None:
        statement = statement.where(JobRow.kind == kind)
    if before is not None:
        position = tuple_(MediaAssetRow.created_at, MediaAssetRow.id)
        statement = statement.where(position < (before.created_at, before.id))
    return [MediaAsset.of(row) for row in session.scalars(statement, execution_options=FRESH)]


def _uses(row: type[JobRow], dataset: str) -> ColumnElement[bool]:
    return row.payload.contains({"loras": [{"dataset": dataset}]})

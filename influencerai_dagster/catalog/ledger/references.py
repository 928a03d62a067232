"""What a job may refer to: datasets, LoRAs and pictures of its own tenant.

What belongs to another tenant gives the same error as what does not exist.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import select, union
from sqlalchemy.orm import Session

from influencerai_dagster.catalog.job_models import JobRow, MediaAssetRow
from influencerai_dagster.catalog.models import DatasetRow, InfluencerRow, LoraRow
from influencerai_dagster.domain.jobs import (
    ImageJobPayload,
    JobKind,
    JobPayload,
    JobStatus,
    LoraReference,
    VideoJobPayload,
)
from influencerai_dagster.domain.keys import check_part
from influencerai_dagster.errors import PermanentError

_ENDED_WITHOUT_PICTURE = {JobStatus.FAILED, JobStatus.CANCELLED}


def check_references(session: Session, tenant: str, payloads: Sequence[JobPayload]) -> None:
    """Check that the tenant has everything that these jobs name.

    Raises:
        PermanentError: names the first that it does not have.
    """
    images = [payload for payload in payloads if isinstance(payload, ImageJobPayload)]
    references = {reference for payload in images for reference in payload.loras}
    _check_datasets(session, tenant, {item.dataset for item in references})
    _check_loras(session, tenant, [item for item in references if item.lora_id is not None])
    videos = [payload for payload in payloads if isinstance(payload, VideoJobPayload)]
    _check_sources(session, tenant, {payload.source_job_id for payload in videos})


def _check_datasets(session: Session, tenant: str, datasets: set[str]) -> None:
    wanted = {check_part(dataset, "dataset") for dataset in datasets}
    if not wanted:
        return
    known = union(
        select(DatasetRow.id).where(DatasetRow.tenant_id == tenant, DatasetRow.id.in_(wanted)),
        select(InfluencerRow.dataset).where(
            InfluencerRow.tenant_id == tenant, InfluencerRow.dataset.in_(wanted)
        ),
    )
    unknown = wanted - set(session.scalars(known))
    if unknown:
        raise PermanentError(
            f"tenant {tenant!r} has no dataset {_listed(unknown)}, so it gets no LoRA of it; "
            "upload its photos first, or add the influencer that it shows"
        )


def _check_loras(session: Session, tenant: str, references: list[LoraReference]) -> None:
    wanted = {(check_part(item.lora_id or "", "LoRA"), item.dataset) for item in references}
    if not wanted:
        return
    rows = session.execute(
        select(LoraRow.id, LoraRow.dataset).where(
            LoraRow.tenant_id == tenant, LoraRow.id.in_({lora_id for lora_id, _ in wanted})
        )
    )
    unknown = wanted - {(row.id, row.dataset) for row in rows}
    if unknown:
        named = ", ".join(f"{lora_id!r} of dataset {dataset!r}" for lora_id, dataset in unknown)
        raise PermanentError(
            f"tenant {tenant!r} has no LoRA {named}; leave lora_id out to get the dataset's newest"
        )


def _check_sources(session: Session, tenant: str, sources: set[UUID]) -> None:
    if not sources:
        return
    rows = session.execute(
        select(JobRow.id, JobRow.status, MediaAssetRow.deleted_at)
        .outerjoin(MediaAssetRow, MediaAssetRow.job_id == JobRow.id)
        .where(JobRow.tenant_id == tenant, JobRow.id.in_(sources), JobRow.kind == JobKind.IMAGE)
    ).all()
    unknown = sources - {row.id for row in rows}
    if unknown:
        raise PermanentError(f"tenant {tenant!r} has no image job {_listed(unknown)}")
    for row in rows:
        if row.status in _ENDED_WITHOUT_PICTURE:
            raise PermanentError(
                f"image job {row.id} is {row.status}, so no clip can start from its picture"
            )
        if row.deleted_at is not None:
            raise PermanentError(
                f"the picture of image job {row.id} was deleted on {row.deleted_at:%Y-%m-%d}"
            )


def _listed(names: Iterable[object]) -> str:
    return ", ".join(sorted(repr(str(name)) for name in names))

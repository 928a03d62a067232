"""Check the datasets, LoRAs and images that a job names: they must be its own tenant's.

An object of another tenant gives the same error as one that does not exist.
"""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import check_part
from influencerai_dagster.core.names import unknown_name
from influencerai_dagster.db.datasets import known_datasets, unknown_dataset
from influencerai_dagster.db.models.content import LoraRow
from influencerai_dagster.db.models.jobs import JobRow, MediaAssetRow
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation.jobs import LoraReference

_ENDED_WITHOUT_IMAGE = {JobStatus.FAILED, JobStatus.CANCELLED}


def check_loras(session: Session, tenant: str, references: set[LoraReference]) -> None:
    """Check that the tenant has these LoRAs, or the datasets whose newest LoRA is meant.

    Raises:
        PermanentError: names the first that it does not have.
    """
    _check_datasets(session, tenant, {item.dataset for item in references})
    _check_lora_ids(session, tenant, [item for item in references if item.lora_id is not None])


def _check_datasets(session: Session, tenant: str, datasets: set[str]) -> None:
    wanted = {check_part(dataset, "dataset") for dataset in datasets}
    if not wanted:
        return
    known = known_datasets(session, tenant)
    for dataset in sorted(wanted - known):
        raise unknown_dataset(tenant, dataset, known)


def _check_lora_ids(session: Session, tenant: str, references: list[LoraReference]) -> None:
    wanted = {(check_part(item.lora_id or "", "LoRA"), item.dataset) for item in references}
    if not wanted:
        return
    rows = session.execute(
        select(LoraRow.id, LoraRow.dataset).where(
            LoraRow.tenant_id == tenant, LoraRow.dataset.in_({dataset for _, dataset in wanted})
        )
    )
    known = {(row.id, row.dataset) for row in rows}
    for lora_id, dataset in sorted(wanted - known):
        raise unknown_name(
            f"tenant {tenant!r} has no LoRA {lora_id!r} of dataset {dataset!r}",
            lora_id,
            [name for name, of in known if of == dataset],
            plural=f"LoRAs of {dataset}",
            advice="Leave lora_id out to get the dataset's newest",
        )


def check_sources(session: Session, tenant: str, sources: set[UUID]) -> None:
    """Check that the tenant has these image jobs, and that each has an image or may get one.

    Raises:
        PermanentError: names those that it does not have, or the first without an image.
    """
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
        if row.status in _ENDED_WITHOUT_IMAGE:
            raise PermanentError(
                f"image job {row.id} is {row.status}, so no other job can start from its image"
            )
        if row.deleted_at is not None:
            raise PermanentError(
                f"the image of image job {row.id} was deleted on {row.deleted_at:%Y-%m-%d}"
            )


def _listed(names: Iterable[object]) -> str:
    return ", ".join(sorted(repr(str(name)) for name in names))

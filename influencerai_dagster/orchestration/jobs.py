"""Define the Dagster jobs of the pipeline, which sensors start and operators may launch."""

from typing import NamedTuple

import dagster as dg

from influencerai_dagster.core import dagster_names as names
from influencerai_dagster.core.job_states import JobKind


class _Row(NamedTuple):
    name: str
    stage: str
    max_hours: int
    description: str


_ROWS = (
    _Row(
        names.BUILD_DATASET_JOB,
        "datasets",
        2,
        "Validate the uploads of one dataset and caption its images.",
    ),
    _Row(
        names.TRAIN_LORA_JOB,
        "loras",
        14,
        "Train the LoRA of one dataset and render its sample images. Only trainings that an "
        "operator launched are runs of this job; all are at Runs with the filter tag:stage=loras.",
    ),
    *(
        _Row(
            names.GENERATION_JOBS[kind],
            kind.plural,
            6,
            f"Render the pending {kind.plural} of one tenant-day; new jobs may be in the config.",
        )
        for kind in JobKind
    ),
    _Row(
        names.BACKUP_DATABASE_JOB,
        "backups",
        12,
        "Back up both databases; the run config says full or incremental.",
    ),
    _Row(
        names.BACKUP_OBJECTS_JOB,
        "backups",
        24,
        "Copy new objects and database backups to the backup target.",
    ),
    _Row(
        names.RESTORE_DRILL_JOB,
        "backups",
        12,
        "Restore last night's backup into scratch space and verify that it is complete.",
    ),
    _Row(
        names.RETENTION_JOB,
        "retention",
        6,
        "Report what retention may delete, and delete it unless it is a dry run.",
    ),
)

JOBS = {
    row.name: dg.define_asset_job(
        row.name,
        selection=dg.AssetSelection.assets(*names.JOB_ASSETS[row.name]),
        description=row.description,
        tags={names.MAX_RUNTIME_TAG: str(3600 * row.max_hours), names.STAGE_TAG: row.stage},
    )
    for row in _ROWS
}
"""Name → job; core/dagster_names.py has the names."""

STAGE_OF_ASSET = {asset: row.stage for row in _ROWS for asset in names.JOB_ASSETS[row.name]}

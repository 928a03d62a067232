"""Define the Dagster jobs of the pipeline, which sensors start and operators may launch."""

import dagster as dg

_HOUR = 3600
ALIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""The states of a run that has not ended; a queued one is alive."""

build_dataset_job = dg.define_asset_job(
    "build_dataset_job",
    selection=dg.AssetSelection.assets("dataset", "captions"),
    description="Validate the uploads of one dataset and caption its images.",
    tags={"dagster/max_runtime": 2 * _HOUR, "stage": "datasets"},
)
train_lora_job = dg.define_asset_job(
    "train_lora_job",
    selection=dg.AssetSelection.assets("lora_weights", "lora_samples"),
    description=(
        "Train the LoRA of one dataset and render its sample images. Only trainings that a "
        "person launched are runs of this job; all are at Runs with the filter tag:stage=loras."
    ),
    tags={"dagster/max_runtime": 14 * _HOUR, "stage": "loras"},
)
generate_images_job = dg.define_asset_job(
    "generate_images_job",
    selection=dg.AssetSelection.assets("generated_images"),
    description="Render the pending images of one tenant-day; new jobs may be in the run config.",
    tags={"dagster/max_runtime": 6 * _HOUR, "stage": "images"},
)
generate_videos_job = dg.define_asset_job(
    "generate_videos_job",
    selection=dg.AssetSelection.assets("generated_videos"),
    description="Render the pending videos of one tenant-day; new jobs may be in the run config.",
    tags={"dagster/max_runtime": 6 * _HOUR, "stage": "videos"},
)
backup_database_job = dg.define_asset_job(
    "backup_database_job",
    selection=dg.AssetSelection.assets("database_backup"),
    description="Back up both databases; the run config says full or incremental.",
    tags={"dagster/max_runtime": 12 * _HOUR, "stage": "backups"},
)
backup_objects_job = dg.define_asset_job(
    "backup_objects_job",
    selection=dg.AssetSelection.assets("object_backup"),
    description="Copy new objects and database backups to the backup target.",
    tags={"dagster/max_runtime": 24 * _HOUR, "stage": "backups"},
)
restore_drill_job = dg.define_asset_job(
    "restore_drill_job",
    selection=dg.AssetSelection.assets("restore_drill"),
    description="Restore last night's backup into scratch space and prove that it is whole.",
    tags={"dagster/max_runtime": 12 * _HOUR, "stage": "backups"},
)
retention_job = dg.define_asset_job(
    "retention_job",
    selection=dg.AssetSelection.assets("retention_report", "retention_deletions"),
    description="Report what retention may delete, and delete it unless it is a dry run.",
    tags={"dagster/max_runtime": 6 * _HOUR, "stage": "retention"},
)

ALL_JOBS = (
    build_dataset_job,
    train_lora_job,
    generate_images_job,
    generate_videos_job,
    backup_database_job,
    backup_objects_job,
    restore_drill_job,
    retention_job,
)

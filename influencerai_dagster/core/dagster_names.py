"""Name what Dagster's definitions and callers share: jobs, assets, pools, tags, run states.

orchestration/ builds the definitions from them; dagster_client/, cli/ and local/ ask Dagster by
them. A test compares them with the definitions.
"""

from influencerai_dagster.core.job_states import JobKind

BUILD_DATASET_JOB = "build_dataset_job"
TRAIN_LORA_JOB = "train_lora_job"
BACKUP_DATABASE_JOB = "backup_database_job"
BACKUP_OBJECTS_JOB = "backup_objects_job"
RESTORE_DRILL_JOB = "restore_drill_job"
RETENTION_JOB = "retention_job"
GENERATION_JOBS = {kind: f"generate_{kind.plural}_job" for kind in JobKind}
GENERATED_ASSETS = {kind: f"generated_{kind.plural}" for kind in JobKind}
JOB_ASSETS = {
    BUILD_DATASET_JOB: ("dataset", "captions"),
    TRAIN_LORA_JOB: ("lora_weights", "lora_samples"),
    **{GENERATION_JOBS[kind]: (GENERATED_ASSETS[kind],) for kind in JobKind},
    BACKUP_DATABASE_JOB: ("database_backup",),
    BACKUP_OBJECTS_JOB: ("object_backup",),
    RESTORE_DRILL_JOB: ("restore_drill",),
    RETENTION_JOB: ("retention_report", "retention_deletions"),
}
"""Dagster job → the assets that it materializes."""
MAX_DATASET_RUNS = 12
"""Queued or in progress, of all tenants; dagster.yaml says how many of them are in progress."""

CODE_LOCATION = "influencerai"
"""The name of our code location in workspace.yaml."""
DATASET_PARTITIONS = "datasets"
DAY_PARTITIONS = "content_days"
ASSET_OF_PARTITIONS = {DATASET_PARTITIONS: "dataset", DAY_PARTITIONS: "generated_images"}
"""Set of dynamic partitions → an asset that has all of its keys."""

IMAGE_POOL = "image_generation"
VIDEO_POOL = "video_generation"
LORA_POOL = "lora_training"
GPU_POOL = "gpu"
"""The one pool of all that use the GPU, with GPU_SHARED."""

PARTITION_TAG = "dagster/partition"
"""The tag in which Dagster gives a run its partition key."""
PRIORITY_TAG = "dagster/priority"
MAX_RETRIES_TAG = "dagster/max_retries"
MAX_RUNTIME_TAG = "dagster/max_runtime"
NO_RETRIES = {MAX_RETRIES_TAG: "0"}
STAGE_TAG = "stage"
TENANT_TAG = "tenant"
UPLOADS_TAG = "uploads"
"""The fingerprint of the uploads for which a run builds a dataset: it needs no other run."""

STARTING, STARTED, CANCELING = "STARTING", "STARTED", "CANCELING"
SUCCESS, FAILURE, CANCELED = "SUCCESS", "FAILURE", "CANCELED"
WAITING = ("QUEUED", "NOT_STARTED")
ALIVE = (*WAITING, STARTING, STARTED, CANCELING)
"""States of a run that has not ended; a queued one is alive."""
ENDED = (SUCCESS, FAILURE, CANCELED)

"""Start the run that builds a dataset, for a caller that knows that its upload is complete.

`dataset_upload_sensor` starts the others, after its tick and the quiet time. It finds the run of
this module by its tag, and starts no second one for the same uploads.
"""

from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import (
    BUILD_DATASET_JOB,
    DATASET_PARTITIONS,
    MAX_DATASET_RUNS,
    UPLOADS_TAG,
)
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.object_paths import uploads_prefix
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.dagster_client.overview import list_runs
from influencerai_dagster.db.engine import one_at_a_time
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.upload_changes import uploads_by_dataset, uploads_fingerprint


def start_build(
    dagster: DagsterGraphQL, engine: Engine, store: ObjectStore, key: DatasetKey
) -> str | None:
    """Launch the run for the uploads of a dataset and return its id.

    Returns:
        None if the sensor has to start it, because the dataset is being built from older uploads,
        or because many others are: their tenants share the runs.

    Raises:
        TransientError: Dagster, the catalog or S3 does not answer; the sensor starts the run later.
        PermanentError: Dagster refused.
    """
    with one_at_a_time(engine, f"build {key}"):
        uploads = uploads_by_dataset(store.list(uploads_prefix(key))).get(key, [])
        alive = list_runs(dagster, job_name=BUILD_DATASET_JOB, is_alive=True)
        if len(alive) >= MAX_DATASET_RUNS or str(key) in {run.partition_key for run in alive}:
            return None
        dagster.add_partition(DATASET_PARTITIONS, str(key))
        return dagster.launch(
            BUILD_DATASET_JOB,
            partition_key=str(key),
            run_config={},
            tags={UPLOADS_TAG: uploads_fingerprint(uploads)},
        )

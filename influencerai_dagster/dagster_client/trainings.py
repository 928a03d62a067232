"""Launch a training of a dataset on request; orchestration/training/ starts the others."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import TRAIN_LORA_JOB
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.dagster_client.overview import list_runs
from influencerai_dagster.db.datasets import get_dataset
from influencerai_dagster.db.engine import one_at_a_time, transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.dataset_names import require_dataset
from influencerai_dagster.training.lora_configs import resolve_lora_config


def launch_training(
    dagster: DagsterGraphQL,
    engine: Engine,
    store: ObjectStore,
    key: DatasetKey,
    *,
    config: str | None,
    overrides: Mapping[str, Any],
    retrain: bool,
    default_preset: str,
) -> str:
    """Launch a training and return its run id; the request is checked first, as the run would.

    Args:
        dagster: the web server.
        engine: of the catalog.
        store: the bucket of assets.
        key: the dataset; it must be validated and captioned.
        config: a LoRA config of the tenant or a preset; None for the tenant's default.
        overrides: fields of the config that this training changes.
        retrain: train although this recipe was trained before.
        default_preset: DEFAULT_TRAINING_PRESET.

    Raises:
        PermanentError: unknown tenant, dataset, config or field; the dataset is not validated yet;
            or a training of it runs already.
        TransientError: Dagster does not answer.
    """
    require_dataset(engine, store, key)
    with transaction(engine) as session:
        record = get_dataset(session, key.tenant, key.dataset)
        resolve_lora_config(session, key.tenant, config, default_preset, overrides=overrides)
    if record is None or record.num_images == 0:
        raise PermanentError(
            f"dataset {key} has no validated images, so no LoRA can be trained of it: "
            f"`influencerai dataset status {key.dataset} --tenant {key.tenant}` says why"
        )
    options: dict[str, Any] = {"overrides": dict(overrides), "retrain": retrain}
    if config is not None:
        options["lora_config"] = config
    with one_at_a_time(engine, f"train {key}"):
        for run in list_runs(dagster, partition_key=str(key), is_alive=True):
            if "lora_weights" in run.assets:
                raise PermanentError(
                    f"a training of {key} runs already (run {run.run_id}, {run.status.lower()}): "
                    "wait for it, or terminate it in the Dagster UI"
                )
        return dagster.launch(
            TRAIN_LORA_JOB,
            partition_key=str(key),
            run_config={"ops": {"train_lora": {"config": options}}},
        )

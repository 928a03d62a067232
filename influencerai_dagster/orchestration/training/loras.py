"""Assets `lora_weights` and `lora_samples`, made by the ops `train_lora` and `render_lora_samples`.

The work lives in training/loras.py and generation/render/lora_samples.py. The ops keep names of
their own, which run configs use, and take another pool where the GPU is shared.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import Field

from influencerai_dagster.core.dagster_names import IMAGE_POOL, LORA_POOL, TRAIN_LORA_JOB
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.lora_training import LoraConfig, epochs_planned
from influencerai_dagster.core.manifests.captions import CaptionsManifest
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.core.manifests.loras import LoraManifest, LoraSamplesManifest
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.running_trainings import begin_training, end_training
from influencerai_dagster.generation.render.lora_samples import render_samples
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.jobs import JOBS
from influencerai_dagster.orchestration.metadata import OWNER, stored_metadata
from influencerai_dagster.orchestration.partitions import dataset_partitions, kept_partition
from influencerai_dagster.orchestration.progress import optional
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.engines import ComfyUIResource, KohyaResource
from influencerai_dagster.orchestration.resources.limits import LimitsResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.orchestration.run_config import RunConfig
from influencerai_dagster.orchestration.training.metadata import (
    TrainingProgress,
    left_out_text,
    lora_metadata,
    samples_metadata,
)
from influencerai_dagster.training.gpu_sharing import free_comfyui_memory
from influencerai_dagster.training.lora_configs import resolve_lora_config
from influencerai_dagster.training.loras import find_trained
from influencerai_dagster.training.loras import train_lora as run_training
from influencerai_dagster.training.recipes import make_recipe

_Condition = dg.AutomationCondition

train_when_captions_changed = (
    (
        _Condition.missing().newly_true()
        | _Condition.any_deps_match(_Condition.data_version_changed())
    ).since(_Condition.newly_requested() | _Condition.newly_updated())
    & ~_Condition.any_deps_missing()
    & ~_Condition.any_deps_in_progress()
    & ~_Condition.in_progress()
    & _Condition.all_deps_blocking_checks_passed()
).with_label("captions have a new data version and every blocking check passed")
"""A training costs hours of GPU: new content that passed its checks starts one, a rerun never."""

lora_automation_sensor = dg.AutomationConditionSensorDefinition(
    "lora_automation_sensor",
    target=dg.AssetSelection.assets("lora_weights", "lora_samples"),
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    run_tags=dict(JOBS[TRAIN_LORA_JOB].tags or {}),
    description=(
        "Trains a LoRA when captions have a new data version and every blocking check passed."
    ),
)


class TrainLoraConfig(RunConfig):
    """Run config of `train_lora`."""

    lora_config: str | None = Field(
        None, description="Name of one of the tenant's LoRA configs; the default one if null."
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description=(
            'Fields of the LoRA config to change in this run: `{"max_train_steps": 800}`; null '
            "turns off what may be off."
        ),
    )
    retrain: bool = Field(
        default=False, description="Train again although this recipe was trained before."
    )


@dg.op(pool=LORA_POOL, code_version="1", config_schema=TrainLoraConfig.schema_for_dagster())
def train_lora(
    context: dg.OpExecutionContext,
    dataset: DatasetManifest,
    captions: CaptionsManifest,
    object_store: ObjectStoreResource,
    catalog: CatalogResource,
    kohya: KohyaResource,
    comfyui: ComfyUIResource,
    limits: LimitsResource,
) -> dg.Output[LoraManifest]:
    """Train a LoRA with kohya sd-scripts, unless the same recipe was trained before."""
    with dagster_failures(context.retry_number), kept_partition(context, dataset_partitions):
        config = TrainLoraConfig.of(context)
        key = DatasetKey.parse(context.partition_key)
        lora_config = _lora_config(config, key, catalog, limits)
        trainer = kohya.trainer()
        recipe = make_recipe(dataset, captions, lora_config, trainer.models_dir)
        if recipe.left_out:
            context.log.warning(left_out_text(recipe))
        published = None if config.retrain else find_trained(catalog.engine, recipe, object_store)
        if published is not None:
            lora_id = published.manifest.lora_id
            context.log.info(f"recipe {recipe.version} was trained before as {lora_id}")
        else:
            context.log.info(_plan(lora_config, len(recipe.images)))
            progress = TrainingProgress(context)
            with _gpu(context, key, catalog, kohya, comfyui):
                published = run_training(
                    catalog.engine,
                    object_store,
                    trainer,
                    recipe,
                    sample_prompts=(f"{captions.trigger_phrase}, portrait photo",),
                    on_step=optional(progress.step),
                    on_sample=optional(progress.sample),
                )
        return dg.Output(
            published.manifest,
            metadata={
                **lora_metadata(published.manifest, recipe),
                **stored_metadata(published.stored),
            },
            data_version=dg.DataVersion(published.manifest.version),
        )


@dg.op(pool=IMAGE_POOL, code_version="1")
def render_lora_samples(
    context: dg.OpExecutionContext,
    lora_weights: LoraManifest,
    object_store: ObjectStoreResource,
    comfyui: ComfyUIResource,
) -> dg.Output[LoraSamplesManifest]:
    """Render the fixed sample prompts with a LoRA at several strengths."""
    with dagster_failures(context.retry_number), kept_partition(context, dataset_partitions):
        log = optional(context.log.info)
        published, sheet = render_samples(
            object_store,
            comfyui.render_session(),
            lora_weights,
            lambda done, total: log(f"{done} of {total} sample images rendered"),
        )
        return dg.Output(
            published.manifest,
            metadata={
                **samples_metadata(published.manifest, sheet),
                **stored_metadata(published.stored),
            },
            data_version=dg.DataVersion(published.manifest.version),
        )


def lora_weights_asset(op: dg.OpDefinition) -> dg.AssetsDefinition:
    """Return the asset of an op that trains; its pool is the op's."""
    return dg.AssetsDefinition.from_op(
        op,
        keys_by_output_name={"result": dg.AssetKey("lora_weights")},
        partitions_def=dataset_partitions,
        group_name="loras",
        automation_conditions_by_output_name={"result": train_when_captions_changed},
    ).map_asset_specs(
        lambda spec: spec.replace_attributes(
            kinds={"s3", "pytorch"},
            owners=[OWNER],
            description=(
                "The newest LoRA of a dataset: weights trained by kohya sd-scripts and verified, "
                "at `loras/<tenant>/<loraId>.safetensors`.\n\nMade from captions and dataset; one "
                "partition is one dataset of one tenant. It starts by itself when captions have a "
                "new data version; materialize it by hand to train with another config."
            ),
        )
    )


def lora_samples_asset(op: dg.OpDefinition) -> dg.AssetsDefinition:
    """Return the asset of an op that renders samples; its pool is the op's."""
    return dg.AssetsDefinition.from_op(
        op,
        keys_by_output_name={"result": dg.AssetKey("lora_samples")},
        partitions_def=dataset_partitions,
        group_name="loras",
        automation_conditions_by_output_name={"result": _Condition.eager()},
    ).map_asset_specs(
        lambda spec: spec.replace_attributes(
            kinds={"s3", "comfyui"},
            owners=[OWNER],
            description=(
                "Fixed prompts and seeds rendered with the newest LoRA at several strengths, to "
                "see at a glance whether a training worked.\n\nMade from lora_weights through "
                "ComfyUI; one partition is one dataset of one tenant. It follows every training by "
                "itself."
            ),
        )
    )


@contextmanager
def _gpu(
    context: dg.OpExecutionContext,
    key: DatasetKey,
    catalog: CatalogResource,
    kohya: KohyaResource,
    comfyui: ComfyUIResource,
) -> Iterator[None]:
    """Record the run as a training for the duration of the block.

    With GPU_SHARED it is recorded as the owner of the GPU, and ComfyUI's models are unloaded.
    """
    with transaction(catalog.engine) as session:
        begin_training(session, context.run_id, str(key), owns_gpu=kohya.is_gpu_shared)
    try:
        if kohya.is_gpu_shared:
            free_comfyui_memory(
                comfyui.addresses,
                wait_seconds=comfyui.timeout_seconds,
                report=optional(context.log.info),
            )
        yield
    finally:
        with transaction(catalog.engine) as session:
            end_training(session, context.run_id)


def _lora_config(
    config: TrainLoraConfig, key: DatasetKey, catalog: CatalogResource, limits: LimitsResource
) -> LoraConfig:
    """Return the tenant's config with this run's overrides."""
    with transaction(catalog.engine) as session:
        return resolve_lora_config(
            session,
            key.tenant,
            config.lora_config,
            limits.default_training_preset,
            overrides=config.overrides,
        )


def _plan(config: LoraConfig, num_images: int) -> str:
    return (
        f"training {config.base_model_family} on {config.base_model}: {num_images} images × "
        f"{config.num_repeats} repeats × {epochs_planned(num_images, config)} epochs ÷ batch "
        f"{config.train_batch_size}, stopping at {config.max_train_steps} steps"
    )

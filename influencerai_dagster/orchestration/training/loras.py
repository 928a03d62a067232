"""Ops of the LoRA stages: `train_lora` and `render_lora_samples`.

The work lives in training/loras.py and generation/render/lora_samples.py; lora_assets.py makes
assets of these.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from influencerai_dagster.core.dagster_names import IMAGE_POOL, TRAINING_POOL
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.lora_training import LoraConfig, TrainingStep, epochs_planned
from influencerai_dagster.core.manifests.captions import CaptionsManifest
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.core.manifests.loras import LoraManifest, LoraSamplesManifest
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.run_heartbeats import Activity
from influencerai_dagster.generation.render.lora_samples import render_samples
from influencerai_dagster.media.contact_sheets import contact_sheet
from influencerai_dagster.media.plots import loss_curve_png
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.metadata import MAX_ROWS, Metadata, file_links, inline_image
from influencerai_dagster.orchestration.partitions import dataset_partitions, kept_partition
from influencerai_dagster.orchestration.progress import optional
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.engines import ComfyUIResource, KohyaResource
from influencerai_dagster.orchestration.resources.limits import LimitsResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.orchestration.run_config import RunConfig
from influencerai_dagster.training.gpu_sharing import free_comfyui_memory
from influencerai_dagster.training.lora_configs import resolve_lora_config
from influencerai_dagster.training.loras import find_trained
from influencerai_dagster.training.loras import train_lora as run_training
from influencerai_dagster.training.recipes import Recipe, make_recipe, why_left_out

_LOG_EVERY_SECONDS = 10.0


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


@dg.op(pool=TRAINING_POOL, code_version="1", config_schema=TrainLoraConfig.schema_for_dagster())
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
    """Train a LoRA with kohya sd-scripts, unless this very recipe was trained before."""
    with dagster_failures(context.retry_number), kept_partition(context, dataset_partitions):
        config = TrainLoraConfig.of(context)
        key = DatasetKey.parse(context.partition_key)
        lora_config = _lora_config(config, key, catalog, limits)
        trainer = kohya.trainer()
        recipe = make_recipe(dataset, captions, lora_config, trainer.models_dir)
        if recipe.left_out:
            context.log.warning(_left_out(recipe))
        manifest = (
            None if config.retrain else find_trained(catalog.engine, recipe, object_store.store)
        )
        if manifest is not None:
            context.log.info(f"recipe {recipe.version} was trained before as {manifest.lora_id}")
        else:
            context.log.info(_plan(lora_config, len(recipe.images)))
            progress = _Progress(context)
            with _gpu(context, key, catalog, kohya, comfyui):
                manifest = run_training(
                    catalog.engine,
                    object_store.store,
                    trainer,
                    recipe,
                    sample_prompts=(f"{captions.trigger_phrase}, portrait photo",),
                    on_step=optional(progress.step),
                    on_sample=optional(progress.sample),
                )
        return dg.Output(
            manifest,
            metadata=_lora_metadata(manifest, recipe),
            data_version=dg.DataVersion(manifest.version),
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
        say = optional(context.log.info)
        manifest, sheet = render_samples(
            object_store.store,
            comfyui.render_session(),
            lora_weights,
            lambda done, total: say(f"{done} of {total} sample images rendered"),
        )
        return dg.Output(
            manifest,
            metadata={
                "grid": inline_image(sheet, "prompts by strength"),
                "files": file_links(
                    [
                        ("the grid", manifest.grid_key),
                        *(
                            (f"{item.prompt}, strength {item.strength_model:g}", item.object_key)
                            for item in manifest.samples
                        ),
                    ]
                ),
                "lora_id": manifest.lora_id,
                "samples": len(manifest.samples),
            },
            data_version=dg.DataVersion(manifest.version),
        )


@contextmanager
def _gpu(
    context: dg.OpExecutionContext,
    key: DatasetKey,
    catalog: CatalogResource,
    kohya: KohyaResource,
    comfyui: ComfyUIResource,
) -> Iterator[None]:
    """Register the run as a training for the duration of the block.

    With GPU_SHARED it is registered as the owner of the GPU, and ComfyUI's models are unloaded.
    """
    activity = Activity.of_training(str(key), owns_gpu=kohya.is_gpu_shared)
    with catalog.doing(activity):
        if kohya.is_gpu_shared:
            free_comfyui_memory(
                comfyui.addresses,
                wait_seconds=comfyui.timeout_seconds,
                report=optional(context.log.info),
            )
        yield


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


def _left_out(recipe: Recipe) -> str:
    reasons = [why_left_out(image, recipe.config.resolution) for image in recipe.left_out]
    heading = f"{len(reasons)} of {len(recipe.dataset.images)} images are left out of this training"
    return "\n".join([f"{heading}:", *reasons[:MAX_ROWS]])


def _lora_metadata(manifest: LoraManifest, recipe: Recipe) -> Metadata:
    facts: Metadata = {}
    if manifest.loss_curve:
        facts["loss_curve"] = inline_image(loss_curve_png(manifest.loss_curve), "loss by step")
    if manifest.final_loss is not None:
        facts["final_loss"] = manifest.final_loss
    if recipe.left_out:
        facts["left_out_of_training"] = _left_out(recipe)
    facts |= {
        "lora_id": manifest.lora_id,
        "weights_key": manifest.weights_key,
        "weights_size_bytes": manifest.weights_size_bytes,
        "base_model": manifest.config.base_model,
        "steps": manifest.steps,
        "train_seconds": round(manifest.train_seconds, 1),
        "is_simulated": manifest.is_simulated,
        "config": dg.MetadataValue.json(manifest.config.model_dump(mode="json")),
    }
    return facts


class _Progress:
    """Reports a running training to the Dagster log, and its samples as observations."""

    def __init__(self, context: dg.OpExecutionContext) -> None:
        self._context = context
        self._logged_at = 0.0

    def step(self, step: TrainingStep) -> None:
        now = time.monotonic()
        if now - self._logged_at < _LOG_EVERY_SECONDS and step.step < step.total_steps:
            return
        self._logged_at = now
        loss = "?" if step.loss is None else f"{step.loss:.4f}"
        eta = "?" if step.eta_seconds is None else f"{step.eta_seconds:.0f} s"
        self._context.log.info(
            f"step {step.step} of {step.total_steps} "
            f"({100 * step.step / max(1, step.total_steps):.0f} %), loss {loss}, left {eta}"
        )

    def sample(self, path: Path) -> None:
        sheet = contact_sheet([(path.name, path.read_bytes())], columns=1, thumb_px=256)
        self._context.log_event(
            dg.AssetObservation(
                asset_key="lora_weights",
                partition=self._context.partition_key,
                metadata={"training_sample": inline_image(sheet, path.name)},
            )
        )

"""Stage `lora_weights`: train LoRA weights with kohya on a private copy of the dataset.

The same recipe (dataset, captions, config, base model) is never trained twice. The weights are
verified before they are uploaded, and the manifest is published last.
"""

import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from influencerai_dagster.core.lora_training import BaseModelFamily, TrainingStep
from influencerai_dagster.core.manifests.dataset import DatasetImage
from influencerai_dagster.core.manifests.loras import LoraManifest
from influencerai_dagster.core.object_paths import lora_key
from influencerai_dagster.db import loras as lora_rows
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.records import Lora
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.engines.kohya.training import TrainingResult, TrainingSpec, train
from influencerai_dagster.errors import InfluencerAIError, PermanentError
from influencerai_dagster.generation.storage_pauses import report_full
from influencerai_dagster.media.safetensors_files import check_lora_fits, read_header
from influencerai_dagster.retry import retry_transient
from influencerai_dagster.storage.manifests import Published, load_unverified, publish
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.dataset_images import copy_name, write_copy
from influencerai_dagster.training.recipes import Recipe

FLUX_FILES = {
    "clip_l": "text_encoders/clip_l.safetensors",
    "t5xxl": "text_encoders/t5xxl_fp16.safetensors",
    "ae": "vae/ae.safetensors",
}
"""Files that a FLUX training needs beside the base model, below KOHYA_MODELS_DIR."""


@dataclass(frozen=True)
class Trainer:
    """An installation of kohya sd-scripts and its models.

    Attributes:
        models_dir: holds the base models, as `<file>` or `checkpoints/<file>`.
        training_dir: each training gets a folder of its own below it.
        extra_variables: names of further environment variables to pass to sd-scripts.
    """

    sd_scripts_dir: Path
    python: Path
    models_dir: Path
    training_dir: Path
    tokenizer_cache_dir: Path | None = None
    extra_variables: tuple[str, ...] = ()


def find_trained(
    engine: Engine, recipe: Recipe, store: ObjectStore
) -> Published[LoraManifest] | None:
    """Return the LoRA of an earlier training of this recipe, if its objects are still there.

    It becomes the newest of its dataset again: jobs that name the dataset get this LoRA.
    """
    with transaction(engine) as session:
        row = lora_rows.find_by_recipe(session, recipe.dataset.tenant, recipe.version)
    if row is None or any(store.head(key) is None for key in (row.weights_key, row.manifest_key)):
        return None
    with transaction(engine) as session:
        lora_rows.choose_lora(session, recipe.dataset.tenant, row.lora_id)
    return load_unverified(store, row.manifest_key, LoraManifest)


def train_lora(
    engine: Engine,
    store: ObjectStore,
    trainer: Trainer,
    recipe: Recipe,
    *,
    sample_prompts: tuple[str, ...] = (),
    on_step: Callable[[TrainingStep], None],
    on_sample: Callable[[Path], None],
) -> Published[LoraManifest]:
    """Train, verify, upload, publish and record one LoRA; a failure leaves only its log on disk.

    In the catalog it replaces the LoRA that the recipe had when the training began.

    Args:
        sample_prompts: images to make while training, at `config.sample_every_n_steps`.
        on_step: called for every progress report of kohya.
        on_sample: called with every sample image while its file exists.

    Returns:
        The LoRA of the recipe: this one, or that of another training that ended meanwhile.

    Raises:
        PermanentError: the dataset, the config or the installation is wrong; the text has kohya's
            real cause. Nothing was uploaded.
        TransientError: the machine failed in passing, or S3 or PostgreSQL for more than 10 minutes.
    """
    key = recipe.dataset.key
    with transaction(engine) as session:
        require_tenant(session, key.tenant)
        earlier = lora_rows.find_by_recipe(session, key.tenant, recipe.version)
    lora_id = f"{key.dataset[:40]}-{uuid.uuid4().hex[:12]}"
    work_dir = trainer.training_dir / key.tenant / lora_id
    work_dir.mkdir(parents=True)
    try:
        _private_copy(store, recipe, work_dir / "images")
        training = _training(trainer, recipe, work_dir, sample_prompts)
        result = train(training, on_step=on_step, on_sample=on_sample)
        check_lora_fits(read_header(result.weights_path), recipe.config.base_model_family)
        on_full = partial(report_full, engine, store.bucket)
        published = _publish(store, recipe, lora_id, result, on_full)
    except BaseException:
        # kohya's log stays: the error names it.
        for folder in ("images", "output"):
            shutil.rmtree(work_dir / folder, ignore_errors=True)
        raise
    shutil.rmtree(work_dir, ignore_errors=True)
    replaces = earlier.lora_id if earlier else None

    def record() -> Lora:
        with transaction(engine) as session:
            return lora_rows.record_lora(session, published.manifest, replaces=replaces)

    row = retry_transient(record)
    if row.lora_id == lora_id:
        return published
    return load_unverified(store, row.manifest_key, LoraManifest)


def _training(
    trainer: Trainer, recipe: Recipe, work_dir: Path, sample_prompts: tuple[str, ...]
) -> TrainingSpec:
    training = TrainingSpec(
        sd_scripts_dir=trainer.sd_scripts_dir,
        python=trainer.python,
        config=recipe.config,
        base_model_path=recipe.base_model_path,
        image_dir=work_dir / "images",
        work_dir=work_dir,
        output_name=work_dir.name,
        tokenizer_cache_dir=trainer.tokenizer_cache_dir,
        sample_prompts=sample_prompts,
        extra_variables=trainer.extra_variables,
    )
    if recipe.config.base_model_family is not BaseModelFamily.FLUX:
        return training
    # FLUX has its text encoders and its autoencoder in files of their own.
    return replace(
        training,
        clip_l_path=trainer.models_dir / FLUX_FILES["clip_l"],
        t5xxl_path=trainer.models_dir / FLUX_FILES["t5xxl"],
        ae_path=trainer.models_dir / FLUX_FILES["ae"],
    )


def _private_copy(store: ObjectStore, recipe: Recipe, image_dir: Path) -> None:
    """Write every image and its caption into a folder that only this training uses."""
    image_dir.mkdir()
    texts = {caption.file_name: caption.text for caption in recipe.captions.captions}
    missing = [image.file_name for image in recipe.images if image.file_name not in texts]
    if missing:
        raise PermanentError(
            f"{len(missing)} images of {recipe.dataset.key} have no caption, the first is "
            f"{missing[0]}. Materialize `captions` again."
        )

    def copy(item: tuple[int, DatasetImage]) -> None:
        path = image_dir / copy_name(*item)
        write_copy(store, item[1], path)
        path.with_suffix(".txt").write_text(texts[item[1].file_name] + "\n", encoding="utf-8")

    for _ in store.map(copy, list(enumerate(recipe.images, start=1))):
        pass


def _publish(
    store: ObjectStore,
    recipe: Recipe,
    lora_id: str,
    result: TrainingResult,
    on_full: Callable[[InfluencerAIError], None],
) -> Published[LoraManifest]:
    """Store the weights, then the manifest that names them."""
    tenant = recipe.dataset.tenant
    key = lora_key(tenant, lora_id)
    weights = retry_transient(lambda: store.put_new(key, result.weights_path), on_full=on_full)
    manifest = LoraManifest(
        tenant=tenant,
        lora_id=lora_id,
        dataset=recipe.dataset.dataset,
        dataset_version=recipe.dataset.version,
        captions_version=recipe.captions.version,
        recipe_version=recipe.version,
        trigger_phrase=recipe.captions.trigger_phrase,
        config=recipe.config,
        base_model_sha256=recipe.base_model_sha256,
        sd_scripts_commit=result.sd_scripts_commit,
        is_simulated=result.is_simulated,
        steps=result.steps,
        final_loss=result.final_loss,
        loss_curve=tuple(result.loss_curve),
        train_seconds=result.seconds,
        weights_key=weights.object_key,
        weights_sha256=weights.sha256,
        weights_size_bytes=weights.size_bytes,
        created_at=datetime.now(UTC),
    )
    return retry_transient(lambda: publish(store, manifest), on_full=on_full)

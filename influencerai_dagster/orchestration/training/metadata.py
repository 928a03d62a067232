"""Show datasets, captions and LoRAs in the Dagster UI: tables, contact sheets, loss curves."""

import time
from collections import Counter
from pathlib import Path

import dagster as dg

from influencerai_dagster.core.lora_training import TrainingStep, bucket_size
from influencerai_dagster.core.manifests.captions import CaptionsManifest
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.core.manifests.loras import LoraManifest, LoraSamplesManifest
from influencerai_dagster.media.contact_sheets import contact_sheet
from influencerai_dagster.media.plots import loss_curve_png
from influencerai_dagster.orchestration.metadata import (
    MAX_ROWS,
    SHEET_COLUMNS,
    THUMB_PX,
    Metadata,
    file_links,
    inline_image,
    table,
)
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.dataset_images import image_thumbnail
from influencerai_dagster.training.recipes import Recipe, why_left_out

_SHEET_IMAGES = 12
_BUCKET_RESOLUTION = 512
_LOG_EVERY_SECONDS = 10.0


def dataset_metadata(store: ObjectStore, manifest: DatasetManifest) -> Metadata:
    """Return the rejects, a contact sheet of the first images and the sizes of all."""
    shown = manifest.images[:_SHEET_IMAGES]
    facts: Metadata = {}
    if manifest.rejected:
        facts["rejects"] = table([item.model_dump(mode="json") for item in manifest.rejected])
    if shown:
        thumbnails = store.map(lambda image: image_thumbnail(store, image, THUMB_PX), shown)
        shots = zip((image.file_name for image in shown), thumbnails, strict=True)
        sheet = contact_sheet(shots, SHEET_COLUMNS, THUMB_PX)
        facts["contact_sheet"] = inline_image(sheet, "accepted images")
    facts |= {"images": len(manifest.images), "rejected": len(manifest.rejected)}
    facts["rights"] = manifest.rights.subject if manifest.rights else "not recorded"
    if manifest.images:
        sizes = Counter(_bucket(image.width_px, image.height_px) for image in manifest.images)
        facts["resolution_buckets"] = table(
            [{"width × height, px": size, "images": count} for size, count in sorted(sizes.items())]
        )
    return facts


def captions_metadata(manifest: CaptionsManifest, *, num_cache_hits: int) -> Metadata:
    """Return the captions, where they come from and which images the captioner refused."""
    return {
        "captions": len(manifest.captions),
        "trigger_phrase": manifest.trigger_phrase,
        "sources": dict(Counter(item.source.value for item in manifest.captions)),
        "cache_hits": num_cache_hits,
        "refused": table([item.model_dump(mode="json") for item in manifest.refused]),
        "sample": table([item.model_dump(mode="json") for item in manifest.captions]),
    }


def lora_metadata(manifest: LoraManifest, recipe: Recipe) -> Metadata:
    """Return the loss curve of a training, its result and its parameters."""
    facts: Metadata = {}
    if manifest.loss_curve:
        facts["loss_curve"] = inline_image(loss_curve_png(manifest.loss_curve), "loss by step")
    if manifest.final_loss is not None:
        facts["final_loss"] = manifest.final_loss
    if recipe.left_out:
        facts["left_out_of_training"] = left_out_text(recipe)
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


def samples_metadata(manifest: LoraSamplesManifest, sheet: bytes) -> Metadata:
    """Return the grid of sample images, and links to the images in full size."""
    images = [
        (f"{item.prompt}, strength {item.strength_model:g}", item.object_key)
        for item in manifest.samples
    ]
    return {
        "grid": inline_image(sheet, "prompts by strength"),
        "files": file_links([("the grid", manifest.grid_key), *images]),
        "lora_id": manifest.lora_id,
        "samples": len(manifest.samples),
    }


def left_out_text(recipe: Recipe) -> str:
    """Return which images of a dataset are not trained on, and why."""
    reasons = [why_left_out(image, recipe.config.resolution) for image in recipe.left_out]
    heading = f"{len(reasons)} of {len(recipe.dataset.images)} images are left out of this training"
    return "\n".join([f"{heading}:", *reasons[:MAX_ROWS]])


class TrainingProgress:
    """Reports a running training to the Dagster log, and its samples as observations."""

    def __init__(self, context: dg.OpExecutionContext) -> None:
        self._context = context
        self._logged_at = 0.0

    def step(self, step: TrainingStep) -> None:
        """Log a step, at most every 10 s, and the last one."""
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
        """Show a sample image that was drawn during the training."""
        sheet = contact_sheet([(path.name, path.read_bytes())], columns=1, thumb_px=256)
        self._context.log_event(
            dg.AssetObservation(
                asset_key="lora_weights",
                partition=self._context.partition_key,
                metadata={"training_sample": inline_image(sheet, path.name)},
            )
        )


def _bucket(width_px: int, height_px: int) -> str:
    """Return the aspect-ratio bucket of 512² pixels that kohya would put such an image in."""
    size = bucket_size(width_px, height_px, _BUCKET_RESOLUTION)
    return "none" if size is None else "{}×{}".format(*size)

"""Checks of datasets, captions and LoRAs: each says what must hold before the next stage.

kohya trains silently without captions, and nothing unusable or unlicensed may reach a training.
"""

import dagster as dg

from influencerai_dagster.core.dataset_rules import RejectReason
from influencerai_dagster.core.manifests.captions import CaptionsManifest
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.core.manifests.loras import LoraManifest, LoraSamplesManifest
from influencerai_dagster.core.object_paths import uploads_prefix
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.metadata import MAX_ROWS
from influencerai_dagster.orchestration.partitions import dataset_partitions
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.limits import LimitsResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.training.lora_configs import resolve_lora_config
from influencerai_dagster.training.recipes import divide_by_bucket, why_left_out

MAX_NAMED = 5


@dg.asset_check(asset="dataset", blocking=True, partitions_def=dataset_partitions)
def dataset_has_images(dataset: DatasetManifest) -> dg.AssetCheckResult:
    """At least one upload was accepted."""
    return dg.AssetCheckResult(
        passed=bool(dataset.images),
        description=(
            f"{len(dataset.images)} accepted, {len(dataset.rejected)} rejected"
            if dataset.images
            else f"all {len(dataset.rejected)} uploads were rejected: see the table of rejects"
        ),
    )


@dg.asset_check(asset="dataset", partitions_def=dataset_partitions)
def every_image_can_be_trained(
    dataset: DatasetManifest, catalog: CatalogResource, limits: LimitsResource
) -> dg.AssetCheckResult:
    """At the resolution of the tenant's default LoRA config, kohya has a bucket for every image."""
    with transaction(catalog.engine) as session:
        config = resolve_lora_config(session, dataset.tenant, None, limits.default_training_preset)
    _, left_out = divide_by_bucket(dataset, config.resolution)
    reasons = [why_left_out(image, config.resolution) for image in left_out]
    return dg.AssetCheckResult(
        passed=not left_out,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{len(left_out)} of {len(dataset.images)} images are left out of a training at "
            f"{config.resolution} px. Raise resolution in the LoRA config to train on them, or "
            f"crop them: {'; '.join(reasons[:MAX_NAMED])}"
            if left_out
            else f"{len(dataset.images)} images at {config.resolution} px"
        ),
        metadata={"left_out": reasons[:MAX_ROWS]},
    )


def dataset_captions_check(*, is_blocking: bool) -> dg.AssetChecksDefinition:
    """Return the check of caption files; the setting DATASET_CAPTIONS says whether it blocks."""

    @dg.asset_check(
        name="captions_pair_with_images",
        asset="dataset",
        blocking=is_blocking,
        partitions_def=dataset_partitions,
    )
    def check(dataset: DatasetManifest) -> dg.AssetCheckResult:
        """No image is without a caption while a caption file belongs to no image."""
        unpaired = [
            f"{item.file_name} ({item.detail})"
            for item in dataset.rejected
            if item.reason is RejectReason.CAPTION_UNPAIRED
        ]
        bare = [image.file_name for image in dataset.images if image.caption_object_key is None]
        passed = not (unpaired and bare)
        return dg.AssetCheckResult(
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR if is_blocking else dg.AssetCheckSeverity.WARN,
            description=(
                f"{len(dataset.images) - len(bare)} of {len(dataset.images)} images have a caption "
                f"file, {len(unpaired)} caption files belong to no image"
                if passed
                else _unpaired_text(dataset, unpaired, bare, is_blocking=is_blocking)
            ),
            metadata={"unpaired_captions": unpaired[:MAX_ROWS], "without_caption": bare[:MAX_ROWS]},
        )

    return check


def _unpaired_text(
    dataset: DatasetManifest, unpaired: list[str], bare: list[str], *, is_blocking: bool
) -> str:
    held = "No training starts by itself. " if is_blocking else ""
    return (
        f"{len(unpaired)} caption files belong to no image, and {len(bare)} of "
        f"{len(dataset.images)} images have no caption file: {'; '.join(unpaired[:MAX_NAMED])}. "
        f"{held}Upload each under the name of its image (img001.txt for img001.jpg) and delete it "
        f"under the old name below {uploads_prefix(dataset.key)} in the bucket. To go on without "
        "them, delete them, or set DATASET_CAPTIONS=warn and build the dataset again."
    )


def dataset_rights_check(*, is_blocking: bool) -> dg.AssetChecksDefinition:
    """Return the check of rights.json; the setting DATASET_RIGHTS says whether it blocks."""

    @dg.asset_check(
        name="dataset_rights_are_recorded",
        asset="dataset",
        blocking=is_blocking,
        partitions_def=dataset_partitions,
    )
    def check(dataset: DatasetManifest) -> dg.AssetCheckResult:
        """rights.json says whose images these are."""
        rights = dataset.rights
        return dg.AssetCheckResult(
            passed=rights is not None,
            severity=dg.AssetCheckSeverity.ERROR if is_blocking else dg.AssetCheckSeverity.WARN,
            description=(
                f"{rights.subject}, {rights.licence}: {rights.evidence}"
                if rights
                else "there is no valid rights.json beside the images: add one with subject "
                "(synthetic or consented), evidence and licence"
            ),
        )

    return check


@dg.asset_check(
    asset="captions",
    blocking=True,
    partitions_def=dataset_partitions,
    additional_ins={"dataset": dg.AssetIn("dataset")},
)
def every_image_has_a_caption(
    captions: CaptionsManifest, dataset: DatasetManifest
) -> dg.AssetCheckResult:
    """Every accepted image has a caption that starts with the trigger phrase."""
    texts = {item.file_name: item.text for item in captions.captions}
    missing = [image.file_name for image in dataset.images if not texts.get(image.file_name)]
    astray = [name for name, text in texts.items() if not text.startswith(captions.trigger_phrase)]
    return dg.AssetCheckResult(
        passed=not missing and not astray,
        description=f"{len(texts)} captions for {len(dataset.images)} images",
        metadata={"without_caption": missing[:50], "without_trigger_phrase": astray[:50]},
    )


@dg.asset_check(asset="captions", partitions_def=dataset_partitions)
def captioner_refused_no_image(captions: CaptionsManifest) -> dg.AssetCheckResult:
    """The auto-captioner described every image that it was asked about."""
    refused = captions.refused
    return dg.AssetCheckResult(
        passed=not refused,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{len(refused)} images were refused and have the class caption: write theirs by hand "
            "(a .txt beside the image) or take them out of the dataset"
            if refused
            else f"none of {len(captions.captions)} images was refused"
        ),
        metadata={"refused": [f"{image.file_name}: {image.why}" for image in refused[:50]]},
    )


@dg.asset_check(asset="lora_weights", blocking=True, partitions_def=dataset_partitions)
def lora_weights_are_stored(
    lora_weights: LoraManifest, object_store: ObjectStoreResource
) -> dg.AssetCheckResult:
    """The weights are on S3 with their recorded size, and the training reached its steps."""
    with dagster_failures():
        found = object_store.head(lora_weights.weights_key)
    is_stored = found is not None and found.size_bytes == lora_weights.weights_size_bytes
    is_trained = lora_weights.steps >= lora_weights.config.max_train_steps
    return dg.AssetCheckResult(
        passed=is_stored and is_trained,
        description=(
            f"{lora_weights.weights_key}: {found.size_bytes if found else 'missing'} of "
            f"{lora_weights.weights_size_bytes} bytes, {lora_weights.steps} of "
            f"{lora_weights.config.max_train_steps} steps"
        ),
    )


@dg.asset_check(asset="lora_samples", partitions_def=dataset_partitions)
def lora_changes_the_image(lora_samples: LoraSamplesManifest) -> dg.AssetCheckResult:
    """The image at full strength differs from the base model's at the same prompt and seed.

    One of which ComfyUI would leave out the most is refused before
    (generation/render/lora_files.py).
    """
    plain = {item.prompt: item.sha256 for item in lora_samples.samples if not item.strength_model}
    same = [
        f"{item.prompt} at {item.strength_model:g}"
        for item in lora_samples.samples
        if item.strength_model and plain.get(item.prompt) == item.sha256
    ]
    return dg.AssetCheckResult(
        passed=not same,
        description=f"no effect: {', '.join(same)}" if same else "every strength has an effect",
    )

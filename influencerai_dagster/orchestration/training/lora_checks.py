"""Checks of `lora_weights` and `lora_samples`: what was trained is there and can be used."""

import dagster as dg

from influencerai_dagster.core.manifests.loras import LoraManifest, LoraSamplesManifest
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.partitions import dataset_partitions
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource


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

"""Assets `lora_weights` and `lora_samples`, made by the ops in loras.py."""

import dagster as dg

from influencerai_dagster.orchestration.metadata import OWNER
from influencerai_dagster.orchestration.partitions import dataset_partitions

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
"""A training costs hours of GPU: it starts for new content that is sound, and never for a rerun."""


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

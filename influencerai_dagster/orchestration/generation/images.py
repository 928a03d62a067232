"""Asset `generated_images`, made by the op `render_images` (worker.py)."""

import dagster as dg

from influencerai_dagster.orchestration.metadata import OWNER
from influencerai_dagster.orchestration.partitions import content_day_partitions


def generated_images_asset(op: dg.OpDefinition) -> dg.AssetsDefinition:
    """Return the asset of an op that renders images; its pool is the op's."""
    return dg.AssetsDefinition.from_op(
        op,
        keys_by_output_name={"result": dg.AssetKey("generated_images")},
        partitions_def=content_day_partitions,
        # A day's images may use any LoRA of the tenant: there is no pairing of the two sets.
        partition_mappings={"lora_weights": dg.AllPartitionMapping()},
        group_name="generation",
    ).map_asset_specs(
        lambda spec: spec.replace_attributes(
            kinds={"s3", "comfyui"},
            owners=[OWNER],
            description=(
                "The images that one tenant asked for on one day, each with its output.json, at "
                "`images/<tenant>/<jobId>/`.\n\nMade from jobs of the job queue through ComfyUI; "
                "one partition is one UTC day of one tenant. Runs start by themselves while jobs "
                "are pending."
            ),
        )
    )

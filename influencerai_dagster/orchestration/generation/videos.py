"""Asset `generated_videos`, made by the op `render_videos` (worker.py)."""

import dagster as dg

from influencerai_dagster.orchestration.metadata import OWNER
from influencerai_dagster.orchestration.partitions import content_day_partitions


def generated_videos_asset(op: dg.OpDefinition) -> dg.AssetsDefinition:
    """Return the asset of an op that renders videos; its pool is the op's."""
    return dg.AssetsDefinition.from_op(
        op,
        keys_by_output_name={"result": dg.AssetKey("generated_videos")},
        partitions_def=content_day_partitions,
        group_name="generation",
    ).map_asset_specs(
        lambda spec: spec.replace_attributes(
            kinds={"s3", "comfyui", "ffmpeg"},
            owners=[OWNER],
            description=(
                "The videos that one tenant asked for on one day: verified MP4 files with a "
                "poster, at `videos/<tenant>/<jobId>/`.\n\nMade from generated_images through "
                "ComfyUI and ffmpeg; one partition is one UTC day of one tenant. Runs start by "
                "themselves while jobs are pending."
            ),
        )
    )

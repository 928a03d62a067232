"""Define asset `generated_images`: the images that one tenant submitted for one day."""

import dagster as dg

from influencerai_dagster.core.dagster_names import IMAGE_POOL
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.orchestration.generation.worker import (
    AUTOMATIC,
    generated_asset,
    render_op,
)

render_images = render_op(
    JobKind.IMAGE,
    ImageRenderer,
    pool=IMAGE_POOL,
    after="lora_weights",
    description="Render the pending images of one tenant-day through ComfyUI.",
)


def generated_images_asset(op: dg.OpDefinition) -> dg.AssetsDefinition:
    """Return the asset of `render_images`; its pool is the op's."""
    return generated_asset(
        op,
        JobKind.IMAGE,
        {"s3", "comfyui"},
        "The images that one tenant submitted for one day, each with its output.json, at "
        "`images/<tenant>/<jobId>/`.\n\nMade from jobs of the job queue through ComfyUI. "
        f"{AUTOMATIC}",
        # A day's images may use any LoRA of the tenant: the two sets of partitions do not pair.
        partition_mappings={"lora_weights": dg.AllPartitionMapping()},
    )

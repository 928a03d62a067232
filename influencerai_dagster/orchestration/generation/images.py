"""Define asset `generated_images`: the images that one tenant submitted for one day."""

import dagster as dg

from influencerai_dagster.core.dagster_names import IMAGE_POOL
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.manifests.outputs import DayManifest
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.orchestration.generation.worker import (
    AUTOMATIC,
    GenerationConfig,
    generated_asset,
    render_jobs,
)
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.engines import ComfyUIResource
from influencerai_dagster.orchestration.resources.limits import LimitsResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource


@dg.op(
    pool=IMAGE_POOL,
    code_version="1",
    ins={"lora_weights": dg.In(dg.Nothing)},
    config_schema=GenerationConfig.schema_for_dagster(),
)
def render_images(
    context: dg.OpExecutionContext,
    object_store: ObjectStoreResource,
    catalog: CatalogResource,
    comfyui: ComfyUIResource,
    limits: LimitsResource,
) -> dg.Output[DayManifest]:
    """Render the pending images of one tenant-day through ComfyUI."""
    return render_jobs(
        context, JobKind.IMAGE, ImageRenderer, object_store, catalog.engine, comfyui, limits
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

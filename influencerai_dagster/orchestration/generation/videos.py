"""Define asset `generated_videos`: the videos that one tenant submitted for one day."""

import dagster as dg

from influencerai_dagster.core.dagster_names import VIDEO_POOL
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.manifests.outputs import DayManifest
from influencerai_dagster.generation.render.videos import VideoRenderer
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
    pool=VIDEO_POOL,
    code_version="1",
    ins={"generated_images": dg.In(dg.Nothing)},
    config_schema=GenerationConfig.schema_for_dagster(),
)
def render_videos(
    context: dg.OpExecutionContext,
    object_store: ObjectStoreResource,
    catalog: CatalogResource,
    comfyui: ComfyUIResource,
    limits: LimitsResource,
) -> dg.Output[DayManifest]:
    """Render the pending videos of one tenant-day through ComfyUI and ffmpeg."""
    return render_jobs(
        context, JobKind.VIDEO, VideoRenderer, object_store, catalog.engine, comfyui, limits
    )


def generated_videos_asset(op: dg.OpDefinition) -> dg.AssetsDefinition:
    """Return the asset of `render_videos`; its pool is the op's."""
    return generated_asset(
        op,
        JobKind.VIDEO,
        {"s3", "comfyui", "ffmpeg"},
        "The videos that one tenant submitted for one day: verified MP4 files with a poster, at "
        "`videos/<tenant>/<jobId>/`.\n\nMade from generated_images through ComfyUI and ffmpeg. "
        f"{AUTOMATIC}",
    )

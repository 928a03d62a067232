"""Define asset `generated_upscales` and its check: images of one tenant's day made larger."""

import dagster as dg

from influencerai_dagster.core.dagster_names import IMAGE_POOL
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.manifests.outputs import DayManifest
from influencerai_dagster.generation.render.upscales import UpscaleRenderer, find_not_larger
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.generation.worker import (
    AUTOMATIC,
    GenerationConfig,
    generated_asset,
    render_jobs,
)
from influencerai_dagster.orchestration.partitions import content_day_partitions
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.engines import ComfyUIResource
from influencerai_dagster.orchestration.resources.limits import LimitsResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource

_SHOWN = 50


@dg.op(
    pool=IMAGE_POOL,
    code_version="1",
    ins={"generated_images": dg.In(dg.Nothing)},
    config_schema=GenerationConfig.schema_for_dagster(),
)
def render_upscales(
    context: dg.OpExecutionContext,
    object_store: ObjectStoreResource,
    catalog: CatalogResource,
    comfyui: ComfyUIResource,
    limits: LimitsResource,
) -> dg.Output[DayManifest]:
    """Enlarge the images of the pending upscale jobs of one tenant-day through ComfyUI."""
    return render_jobs(
        context, JobKind.UPSCALE, UpscaleRenderer, object_store, catalog.engine, comfyui, limits
    )


def generated_upscales_asset(op: dg.OpDefinition) -> dg.AssetsDefinition:
    """Return the asset of `render_upscales`; its pool is the op's."""
    return generated_asset(
        op,
        JobKind.UPSCALE,
        {"s3", "comfyui"},
        "The upscales that one tenant submitted for one day: images made larger, at "
        "`upscales/<tenant>/<jobId>/`.\n\nMade from generated_images through ComfyUI. "
        f"{AUTOMATIC}",
    )


@dg.asset_check(asset="generated_upscales", partitions_def=content_day_partitions)
def every_upscale_is_larger_than_its_source(
    generated_upscales: DayManifest, object_store: ObjectStoreResource
) -> dg.AssetCheckResult:
    """Every upscale is larger than its source image and has the same aspect ratio, within 1 px."""
    with dagster_failures():
        problems = find_not_larger(object_store, generated_upscales)
    return dg.AssetCheckResult(
        passed=not problems,
        description=f"{len(generated_upscales.outputs)} upscales, {len(problems)} not larger",
        metadata={"not_larger": problems[:_SHOWN]},
    )

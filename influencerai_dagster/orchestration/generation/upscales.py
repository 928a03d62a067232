"""Define asset `generated_upscales` and its check: images of one tenant's day made larger."""

import dagster as dg

from influencerai_dagster.core.dagster_names import IMAGE_POOL
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.manifests.outputs import DayManifest
from influencerai_dagster.generation.render.upscales import UpscaleRenderer, find_not_larger
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.generation.worker import (
    AUTOMATIC,
    generated_asset,
    render_op,
)
from influencerai_dagster.orchestration.partitions import content_day_partitions
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource

_SHOWN = 50


render_upscales = render_op(
    JobKind.UPSCALE,
    UpscaleRenderer,
    pool=IMAGE_POOL,
    after="generated_images",
    description="Enlarge the images of the pending upscale jobs of one tenant-day through ComfyUI.",
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

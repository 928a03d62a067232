"""List what Dagster shows of the outputs of generation jobs."""

import dagster as dg

from influencerai_dagster.core.dagster_names import GENERATED_ASSETS
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.orchestration.generation.checks import (
    every_video_fits_its_platform,
    jobs_completed_check,
    outputs_stored_check,
)
from influencerai_dagster.orchestration.generation.images import (
    generated_images_asset,
    render_images,
)
from influencerai_dagster.orchestration.generation.pending_jobs_sensor import pending_jobs_sensor
from influencerai_dagster.orchestration.generation.upscales import (
    every_upscale_is_larger_than_its_source,
    generated_upscales_asset,
    render_upscales,
)
from influencerai_dagster.orchestration.generation.videos import (
    generated_videos_asset,
    render_videos,
)
from influencerai_dagster.orchestration.pools import pooled
from influencerai_dagster.settings import Settings


def generation_definitions(settings: Settings) -> dg.Definitions:
    """Return the assets, checks and sensors of every kind of job."""
    return dg.Definitions(
        assets=[
            generated_images_asset(pooled(render_images, settings)),
            generated_videos_asset(pooled(render_videos, settings)),
            generated_upscales_asset(pooled(render_upscales, settings)),
        ],
        asset_checks=[
            *(outputs_stored_check(GENERATED_ASSETS[kind]) for kind in JobKind),
            *(jobs_completed_check(GENERATED_ASSETS[kind], kind) for kind in JobKind),
            every_video_fits_its_platform,
            every_upscale_is_larger_than_its_source,
        ],
        sensors=[pending_jobs_sensor],
    )

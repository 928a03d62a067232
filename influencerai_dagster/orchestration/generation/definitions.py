"""List what Dagster shows of generated images and videos."""

import dagster as dg

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.orchestration.generation.checks import (
    every_video_fits_its_platform,
    jobs_completed_check,
    outputs_stored_check,
)
from influencerai_dagster.orchestration.generation.pending_jobs_sensor import pending_jobs_sensor
from influencerai_dagster.orchestration.generation.worker import (
    generated_images_asset,
    generated_videos_asset,
    render_images,
    render_videos,
)
from influencerai_dagster.orchestration.pools import pooled
from influencerai_dagster.settings import Settings


def generation_definitions(settings: Settings) -> dg.Definitions:
    """Return the assets, checks and sensors of images and videos."""
    return dg.Definitions(
        assets=[
            generated_images_asset(pooled(render_images, settings)),
            generated_videos_asset(pooled(render_videos, settings)),
        ],
        asset_checks=[
            outputs_stored_check("generated_images"),
            jobs_completed_check("generated_images", JobKind.IMAGE),
            outputs_stored_check("generated_videos"),
            jobs_completed_check("generated_videos", JobKind.VIDEO),
            every_video_fits_its_platform,
        ],
        sensors=[pending_jobs_sensor],
    )

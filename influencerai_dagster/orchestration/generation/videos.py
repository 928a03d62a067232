"""Define asset `generated_videos`: the videos that one tenant submitted for one day."""

import dagster as dg

from influencerai_dagster.core.dagster_names import VIDEO_POOL
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.generation.render.videos import VideoRenderer
from influencerai_dagster.orchestration.generation.worker import (
    AUTOMATIC,
    generated_asset,
    render_op,
)

render_videos = render_op(
    JobKind.VIDEO,
    VideoRenderer,
    pool=VIDEO_POOL,
    after="generated_images",
    description="Render the pending videos of one tenant-day through ComfyUI and ffmpeg.",
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

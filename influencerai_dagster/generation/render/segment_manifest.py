"""Describe one segment of a long video: segment-0000.json, kept until the video is done.

It lies at videos/<tenant>/<jobId>/. A later claim of the job goes on after the segments that it can
verify to be its own.
"""

from datetime import datetime
from uuid import UUID

from influencerai_dagster.core.base import Value
from influencerai_dagster.core.sampling import VideoSampling
from influencerai_dagster.core.stored_file import Sha256, StoredFile


class SegmentManifest(Value):
    """One segment of a video, and where its frames are.

    Attributes:
        segment: 0 is the first.
        recipe_version: content hash of the job's payload and of the workflow that was rendered.
        starts_from: SHA-256 of the pixels of the image that the segment continues.
        file: the frames, a ZIP of PNG files as ComfyUI sent them; None if they were not stored: a
            video of one segment needs no safety between segments.
        num_frames: frames in the file.
        render_seconds: of this segment.
    """

    tenant: str
    job_id: UUID
    segment: int
    recipe_version: str
    starts_from: Sha256
    file: StoredFile | None
    num_frames: int
    sampling: VideoSampling
    workflow_sha256: Sha256
    comfyui_url: str
    comfyui_version: str
    prompt_id: str
    render_seconds: float
    is_simulated: bool
    created_at: datetime

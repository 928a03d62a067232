"""Render one video job: a verified MP4, its poster and output.json, for `generated_videos`.

A video starts from the image of an image job. ComfyUI makes the frames, segment by segment
(segments.py), or a whole video if the tenant's own template saves one. ffmpeg makes the MP4.
"""

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.core.object_paths import output_key
from influencerai_dagster.core.sampling import AspectRatio, VideoSampling
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.engines.ffmpeg.encoding import frames_to_mp4, poster_frame, video_to_mp4
from influencerai_dagster.engines.ffmpeg.probing import VideoFacts, is_one_colour, measure, verify
from influencerai_dagster.engines.ffmpeg.program import TIMEOUT_SECONDS
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation.jobs import VideoJobPayload
from influencerai_dagster.generation.queue import ClaimedJob
from influencerai_dagster.generation.render.render_job import (
    ONE_COLOUR,
    load_template,
    source_image,
    store_output,
)
from influencerai_dagster.generation.render.segments import RenderedSegments, SegmentChain
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.storage.object_store import ObjectStore, WriteOnceStore

_DEFAULT_WORKFLOW = "svd_image_to_video"
_DEFAULT_BASE_MODEL = "svd_xt.safetensors"
_RENDER_SIZES: dict[AspectRatio, tuple[int, int]] = {
    "9:16": (576, 1024),
    "4:5": (768, 960),
    "1:1": (768, 768),
    "16:9": (1024, 576),
}
_ENCODING_SECONDS_PER_SECOND = 30.0


@dataclass
class VideoRenderer:
    """Renders video jobs; one instance serves all threads of a worker."""

    engine: Engine
    store: ObjectStore
    render_session: RenderSession
    _store: WriteOnceStore = field(init=False)

    def __post_init__(self) -> None:
        self._store = self.render_session.retrying_store(self.engine, self.store)

    def render(self, job: ClaimedJob, server: str) -> tuple[OutputManifest, StoredFile]:
        """Render one video job, store the MP4, its poster and output.json.

        Raises:
            PermanentError: the source image is gone, or the MP4 does not fit its platform.
            TransientError: the server, S3 or PostgreSQL failed in passing, or the job was stopped;
                the segments that are stored are not rendered again.
        """
        payload = job.payload
        if not isinstance(payload, VideoJobPayload):
            raise PermanentError(f"job {job.id} is an {payload.kind} job, not a video job")
        source = source_image(self.engine, job).file
        sampling = _sampling(payload)
        name = payload.workflow or _DEFAULT_WORKFLOW
        template = load_template(self._store, job.tenant, name, self.render_session.tenant_nodes)
        with tempfile.TemporaryDirectory(prefix="video-") as name:
            folder = Path(name)
            chain = SegmentChain(
                self._store, self.render_session, server, job, payload, template, sampling, folder
            )
            rendered = chain.run(self._store.read(source))
            facts, video, poster = self._encode(job, payload, rendered, folder)
        last = rendered.segments[-1]
        output = OutputManifest(
            tenant=job.tenant,
            job_id=job.id,
            kind=JobKind.VIDEO,
            file=video,
            poster=poster,
            width_px=facts.width_px,
            height_px=facts.height_px,
            sampling=sampling,
            source_image_key=source.object_key,
            preset=payload.preset,
            aspect_ratio=payload.aspect_ratio,
            segments=tuple(item.file for item in rendered.segments if item.file is not None),
            video=facts.model_dump(mode="json"),
            workflow_name=template.name,
            workflow_sha256=last.workflow_sha256,
            comfyui_url=last.comfyui_url,
            comfyui_version=last.comfyui_version,
            prompt_id=last.prompt_id,
            render_seconds=sum(item.render_seconds for item in rendered.segments),
            is_simulated=any(item.is_simulated for item in rendered.segments),
            created_at=datetime.now(UTC),
        )
        return output, store_output(self._store, output, job)

    def _encode(
        self, job: ClaimedJob, payload: VideoJobPayload, rendered: RenderedSegments, folder: Path
    ) -> tuple[VideoFacts, StoredFile, StoredFile]:
        """Make, verify and store the MP4 and its poster frame."""
        path = folder / "output.mp4"
        poster = folder / "poster.jpg"
        video_format, fps = payload.video_format, payload.fps
        if rendered.video is not None:
            if is_one_colour(rendered.video):
                raise PermanentError(f"the workflow's video has {ONE_COLOUR}")
            given_seconds = measure(rendered.video).facts.duration_seconds
        else:
            given_seconds = len(rendered.frames) / fps
        seconds = payload.duration_seconds or given_seconds
        seconds = min(seconds, video_format.max_duration_seconds or seconds)
        if given_seconds < seconds - 1 / fps:
            raise PermanentError(
                f"the workflow made {given_seconds:.3f} s, but duration_seconds is {seconds:g}: "
                "ask for less, or use a workflow that makes num_frames frames"
            )
        timeout_seconds = TIMEOUT_SECONDS + seconds * _ENCODING_SECONDS_PER_SECOND
        if rendered.video is not None:
            video_to_mp4(
                rendered.video,
                video_format=video_format,
                output=path,
                seconds=min(seconds, given_seconds),
                cues=payload.cues,
                timeout_seconds=timeout_seconds,
            )
        else:
            frames_to_mp4(
                rendered.frames,
                input_fps=fps,
                video_format=video_format,
                output=path,
                seconds=seconds,
                cues=payload.cues,
                timeout_seconds=timeout_seconds,
            )
        facts = verify(path, video_format, seconds)
        poster_frame(path, poster)
        keys = [
            output_key(JobKind.VIDEO, job.tenant, job.id, job.lease_token, suffix)
            for suffix in (".mp4", ".jpg")
        ]
        return (
            facts,
            self._store.put_new(keys[0], path, content_type="video/mp4"),
            self._store.put_new(keys[1], poster, content_type="image/jpeg"),
        )


def _sampling(payload: VideoJobPayload) -> VideoSampling:
    width_px, height_px = _RENDER_SIZES[payload.aspect_ratio]
    return VideoSampling(
        seed=payload.seed or 0,
        steps=payload.steps or VideoSampling.model_fields["steps"].default,
        width_px=width_px,
        height_px=height_px,
        num_frames=payload.num_frames,
        fps=payload.fps,
        motion_bucket_id=payload.motion_bucket_id,
        base_model=payload.base_model or _DEFAULT_BASE_MODEL,
    )

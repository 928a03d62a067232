"""Stage `generated_videos`: one video job → one verified MP4 with its poster and output.json.

A clip starts from the picture of an image job. ComfyUI makes the frames (or a clip, if the tenant's
own template saves one), ffmpeg makes the file.
"""

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from influencerai_dagster.catalog import ledger
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.catalog.ledger import ClaimedJob
from influencerai_dagster.domain.jobs import VideoJobPayload
from influencerai_dagster.domain.manifests.outputs import OutputManifest, StoredFile
from influencerai_dagster.domain.object_paths import output_key
from influencerai_dagster.domain.sampling import (
    VIDEO_FORMATS,
    AspectRatio,
    VideoFormat,
    VideoSampling,
)
from influencerai_dagster.engines.comfyui.runs import RenderResult
from influencerai_dagster.engines.comfyui.templates import fill_video_workflow, workflow_sha256
from influencerai_dagster.engines.ffmpeg.encoding import clip_to_mp4, frames_to_mp4, poster_frame
from influencerai_dagster.engines.ffmpeg.probing import VideoFacts, probe, verify
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.stages.comfyui_jobs import (
    RenderFarm,
    filename_prefix,
    load_template,
    render_workflow,
    store_output,
)
from influencerai_dagster.stages.patience import PatientStore
from influencerai_dagster.stages.storage_pauses import report_full
from influencerai_dagster.storage.object_store import ObjectStore

_DEFAULT_WORKFLOW = "svd_image_to_video"
_DEFAULT_BASE_MODEL = "svd_xt.safetensors"
_RENDER_SIZES: dict[AspectRatio, tuple[int, int]] = {
    "9:16": (576, 1024),
    "1:1": (768, 768),
    "16:9": (1024, 576),
}
_CLIP_SUFFIXES = (".mp4", ".webm", ".mov")


@dataclass
class VideoRenderer:
    """Renders video jobs; one instance serves all threads of a drain."""

    engine: Engine
    store: ObjectStore
    farm: RenderFarm

    def __post_init__(self) -> None:
        on_full = partial(report_full, self.engine, self.store.bucket)
        self.store = PatientStore(self.store, self.farm.stopping, on_full)

    def render(self, job: ClaimedJob, server: str) -> tuple[OutputManifest, StoredFile]:
        """Render one video job, store the MP4, its poster and output.json.

        Raises:
            PermanentError: the source picture is gone, or the MP4 is not what was asked for.
            TransientError: the server, S3 or PostgreSQL failed in passing.
        """
        payload = job.payload
        if not isinstance(payload, VideoJobPayload):
            raise PermanentError(f"job {job.id} is an {payload.kind} job, not a video job")
        source = self._source_picture(job, payload)
        sampling = _sampling(payload)
        template = load_template(self.store, job.tenant, payload.workflow or _DEFAULT_WORKFLOW)
        image_name = self.farm.fleet[server].client.upload_image(
            self.store.read(source), file_name=f"{job.id}.png", subfolder=job.tenant
        )
        workflow = fill_video_workflow(
            template, sampling, image_name=image_name, filename_prefix=filename_prefix(job)
        )
        rendered = render_workflow(self.farm, server, job, workflow)
        video_format = VIDEO_FORMATS[payload.aspect_ratio]
        with tempfile.TemporaryDirectory(prefix="video-") as folder:
            facts, video, poster = self._encode(
                job, rendered.result, sampling, video_format, Path(folder)
            )
        output = OutputManifest(
            tenant=job.tenant,
            job_id=job.id,
            kind="video",
            file=video,
            poster=poster,
            width_px=facts.width_px,
            height_px=facts.height_px,
            sampling=sampling,
            source_image_key=source.object_key,
            video=facts.model_dump(mode="json"),
            workflow_name=template.name,
            workflow_sha256=workflow_sha256(workflow),
            comfyui_url=rendered.url,
            comfyui_version=rendered.server.comfyui_version,
            prompt_id=rendered.result.prompt_id,
            render_seconds=rendered.result.seconds,
            is_simulated=rendered.server.is_simulated,
            created_at=datetime.now(UTC),
        )
        return output, store_output(self.store, output, job)

    def _source_picture(self, job: ClaimedJob, payload: VideoJobPayload) -> StoredFile:
        with transaction(self.engine) as session:
            asset = ledger.media_asset_of_job(session, job.tenant, payload.source_job_id)
        if asset is None:
            raise PermanentError(
                f"the picture of job {payload.source_job_id}, which this clip starts from, is not "
                f"among the outputs of tenant {job.tenant}"
            )
        return asset.file

    def _encode(
        self,
        job: ClaimedJob,
        result: RenderResult,
        sampling: VideoSampling,
        video_format: VideoFormat,
        folder: Path,
    ) -> tuple[VideoFacts, StoredFile, StoredFile]:
        """Make, verify and store the MP4 and its poster frame."""
        path = folder / "output.mp4"
        poster = folder / "poster.jpg"
        clips = [item for item in result.files if item.file_name.endswith(_CLIP_SUFFIXES)]
        if clips:
            clip = folder / f"clip{Path(clips[0].file_name).suffix}"
            clip.write_bytes(clips[0].content)
            clip_to_mp4(clip, video_format=video_format, output=path)
            seconds = probe(clip).duration_seconds
        else:
            frames = _frames(result)
            frames_to_mp4(frames, input_fps=sampling.fps, video_format=video_format, output=path)
            seconds = len(frames) / sampling.fps
        facts = verify(path, video_format, seconds)
        poster_frame(path, poster)
        keys = [
            output_key("videos", job.tenant, job.id, job.lease_token, suffix)
            for suffix in (".mp4", ".jpg")
        ]
        return (
            facts,
            self.store.put_new(keys[0], path, content_type="video/mp4"),
            self.store.put_new(keys[1], poster, content_type="image/jpeg"),
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


def _frames(result: RenderResult) -> list[bytes]:
    """Return the frames in the order in which ComfyUI numbered them."""
    frames = [item for item in result.files if item.file_name.lower().endswith(".png")]
    if not frames:
        found = ", ".join(item.file_name for item in result.files) or "nothing"
        raise PermanentError(f"the video workflow gave neither frames nor a clip, but {found}")
    return [item.content for item in sorted(frames, key=lambda item: item.file_name)]

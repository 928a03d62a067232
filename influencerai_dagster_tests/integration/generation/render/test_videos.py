"""One video job becomes one verified MP4 with its poster, from an image of the same tenant."""

import hashlib
import io
from typing import Any
from uuid import UUID, uuid4

import pytest
from PIL import Image, ImageChops
from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.manifests.outputs import DayManifest, OutputManifest
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import ObjectNotFoundError, PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import JobRequest, VideoJobPayload
from influencerai_dagster.generation.queue import WorkerRegistration
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.generation.render.video_checks import check_platforms
from influencerai_dagster.generation.render.videos import VideoRenderer
from influencerai_dagster.generation.worker.options import WorkerOptions
from influencerai_dagster.generation.worker.worker import RenderWorker
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import DAY, claim_one
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.jobs import TODAY, claimed, status
from influencerai_dagster_tests.testing.photos import contents
from influencerai_dagster_tests.testing.render_servers import completed_image


@pytest.fixture
def videos(
    engine: Engine, object_store: ObjectStore, render_session: RenderSession
) -> VideoRenderer:
    return VideoRenderer(engine, object_store, render_session)


def submit_video(engine: Engine, source: UUID, **fields: Any) -> job_queue.Job:
    payload = VideoJobPayload(
        source_job_id=source, **{"steps": 1, "num_frames": 3, "aspect_ratio": "1:1", **fields}
    )
    with transaction(engine) as session:
        return job_queue.submit(session, "demo", DAY, [JobRequest(payload=payload)])[0]


def test_a_video_is_rendered_from_the_image_and_recorded(
    engine: Engine, renderer: ImageRenderer, videos: VideoRenderer, comfyui: ComfyUISimulator
) -> None:
    source = completed_image(renderer, comfyui.url)
    job = submit_video(engine, source.id)
    before = contents(videos.store)
    report = RenderWorker(
        engine,
        videos.store,
        videos.render_session,
        videos,
        registration=WorkerRegistration("run-1", JobKind.VIDEO, TODAY.tenant, TODAY.day),
        options=WorkerOptions(idle_timeout_seconds=0),
    ).run()
    assert [item.error for item in report.failed] == []
    (output,) = report.completed
    folder = f"videos/demo/{job.id}/output"
    written = contents(videos.store)
    assert written.keys() - before.keys() == {f"{folder}.mp4", f"{folder}.jpg", f"{folder}.json"}
    assert before.items() <= written.items()
    assert OutputManifest.model_validate_json(written[f"{folder}.json"]) == output
    assert output.source_image_key == f"images/demo/{source.id}/output.png"
    assert (output.width_px, output.height_px, output.is_simulated) == (1080, 1080, True)
    assert output.video is not None
    assert output.video["duration_seconds"] == pytest.approx(3 / 6, abs=0.1)
    for stored in (output.file, output.poster):
        assert isinstance(stored, StoredFile)
        assert hashlib.sha256(written[stored.object_key]).hexdigest() == stored.sha256
    now = status(engine, job)
    assert (now.status, now.kind) == (JobStatus.COMPLETED, JobKind.VIDEO)


PRESETS = {
    "instagram-reel": (1080, 1920),
    "instagram-post": (1080, 1350),
    "tiktok": (1080, 1920),
    "youtube-short": (1080, 1920),
    "youtube-standard": (1920, 1080),
}
SRT = "1\n00:00:00,000 --> 00:00:00,400\nHello from bella\n"


def lower_third(store: ObjectStore, poster: StoredFile | None) -> Image.Image:
    assert poster is not None
    with Image.open(io.BytesIO(store.read(poster))) as image:
        return image.convert("L").crop((0, image.height * 2 // 3, image.width, image.height))


def test_a_video_of_every_preset_fits_its_platform_and_shows_its_subtitles(
    engine: Engine, renderer: ImageRenderer, videos: VideoRenderer, comfyui: ComfyUISimulator
) -> None:
    source = completed_image(renderer, comfyui.url)
    outputs: dict[str, OutputManifest] = {}
    for preset, size in PRESETS.items():
        subtitles = SRT if preset == "tiktok" else None
        fields = {"preset": preset, "aspect_ratio": None, "seed": 3, "subtitles_srt": subtitles}
        submit_video(engine, source.id, num_frames=2, fps=5, **fields)
        output, _ = videos.render(claim_one(engine, kind=JobKind.VIDEO), comfyui.url)
        assert (output.preset, output.width_px, output.height_px) == (preset, *size)
        outputs[preset] = output
    day = DayManifest(
        tenant="demo",
        day=DAY,
        kind="videos",
        outputs=tuple(output.file for output in outputs.values()),
    )
    report = check_platforms(videos.store, day, max_measured=2)
    assert (report.num_videos, report.num_measured, report.unfit) == (5, 2, ())
    reel, tiktok = (outputs[name].poster for name in ("instagram-reel", "tiktok"))
    strips = [lower_third(videos.store, poster) for poster in (reel, tiktok)]
    changed = ImageChops.difference(*strips).point(lambda value: 255 if value > 90 else 0)
    assert changed.getbbox() is not None, "the text is not to be seen"


def refused(videos: VideoRenderer, server: str, job: Any) -> PermanentError:
    before = contents(videos.store)
    with pytest.raises(PermanentError) as caught:
        videos.render(job, server)
    assert contents(videos.store) == before
    return caught.value


def video_claim(job: job_queue.ClaimedJob, source: UUID, **fields: Any) -> job_queue.ClaimedJob:
    """A claimed job that asks for a video from a source which nobody checked at submission."""
    payload = VideoJobPayload(source_job_id=source, **fields)
    return type(job)(**{**vars(job), "payload": payload, "kind": JobKind.VIDEO})


def test_the_image_of_another_tenant_is_one_that_does_not_exist(
    engine: Engine, renderer: ImageRenderer, videos: VideoRenderer, comfyui: ComfyUISimulator
) -> None:
    theirs = completed_image(renderer, comfyui.url, tenant="other")
    with pytest.raises(PermanentError, match="tenant 'demo' has no image job"):
        submit_video(engine, theirs.id)
    for source in (theirs.id, uuid4()):
        error = refused(videos, comfyui.url, video_claim(claimed(engine), source))
        assert f"job {source}" in str(error)
        assert "is not among the outputs of tenant demo" in str(error)


def test_an_image_whose_object_is_gone_is_named(
    engine: Engine, renderer: ImageRenderer, videos: VideoRenderer, comfyui: ComfyUISimulator
) -> None:
    source = completed_image(renderer, comfyui.url)
    key = f"images/demo/{source.id}/output.png"
    videos.store.delete(key)
    error = refused(videos, comfyui.url, video_claim(claimed(engine), source.id))
    assert isinstance(error, ObjectNotFoundError)
    assert key in str(error)


def test_an_image_workflow_makes_no_video(
    engine: Engine, renderer: ImageRenderer, videos: VideoRenderer, comfyui: ComfyUISimulator
) -> None:
    source = completed_image(renderer, comfyui.url)
    job = video_claim(claimed(engine), source.id, workflow="sd15_text_to_image")
    assert "SVD_img2vid_Conditioning node is missing" in str(refused(videos, comfyui.url, job))


def test_each_renderer_refuses_the_jobs_of_the_other(
    engine: Engine, renderer: ImageRenderer, videos: VideoRenderer, comfyui: ComfyUISimulator
) -> None:
    job = claimed(engine)
    assert "not a video job" in str(refused(videos, comfyui.url, job))
    with pytest.raises(PermanentError, match="not an image job"):
        renderer.render(video_claim(job, uuid4()), comfyui.url)

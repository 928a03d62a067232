"""One video job becomes one verified MP4 with its poster, from a picture of the same tenant."""

import hashlib
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from influencerai_dagster.catalog import ledger
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.domain.jobs import JobKind, JobRequest, JobStatus, VideoJobPayload
from influencerai_dagster.domain.manifests.outputs import OutputManifest, StoredFile
from influencerai_dagster.errors import ObjectNotFoundError, PermanentError
from influencerai_dagster.stages.comfyui_jobs import RenderFarm
from influencerai_dagster.stages.images import ImageRenderer
from influencerai_dagster.stages.rendering import DrainRules, drain
from influencerai_dagster.stages.videos import VideoRenderer
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.catalog.samples import DAY, claim_one
from influencerai_dagster_tests.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.stages.jobs import TODAY, claimed, status, submit
from influencerai_dagster_tests.stages.photos import contents


@pytest.fixture
def videos(engine: Engine, object_store: ObjectStore, farm: RenderFarm) -> VideoRenderer:
    return VideoRenderer(engine, object_store, farm)


def picture(renderer: ImageRenderer, server: str, tenant: str = "demo") -> ledger.Job:
    """A completed image job."""
    (job,) = submit(renderer.engine, "bella", tenant=tenant)
    claim = claim_one(renderer.engine)
    output, manifest = renderer.render(claim, server)
    with transaction(renderer.engine) as session:
        ledger.complete(session, claim.id, claim.lease_token, output, manifest.object_key)
    return job


def submit_clip(engine: Engine, source: UUID, **fields: Any) -> ledger.Job:
    payload = VideoJobPayload(
        source_job_id=source, **{"steps": 1, "num_frames": 3, "aspect_ratio": "1:1", **fields}
    )
    with transaction(engine) as session:
        return ledger.submit(session, "demo", DAY, [JobRequest(payload=payload)])[0]


def test_a_clip_is_rendered_from_the_picture_and_recorded(
    engine: Engine, renderer: ImageRenderer, videos: VideoRenderer, comfyui: ComfyUISimulator
) -> None:
    source = picture(renderer, comfyui.url)
    job = submit_clip(engine, source.id)
    before = contents(videos.store)
    report = drain(
        engine,
        JobKind.VIDEO,
        TODAY,
        videos,
        owner="run-1",
        rules=DrainRules(linger_seconds=0),
        on_finished=lambda _: None,
    )
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


def refused(videos: VideoRenderer, server: str, job: Any) -> PermanentError:
    before = contents(videos.store)
    with pytest.raises(PermanentError) as caught:
        videos.render(job, server)
    assert contents(videos.store) == before
    return caught.value


def video_claim(job: ledger.ClaimedJob, source: UUID, **fields: Any) -> ledger.ClaimedJob:
    """A claimed job that asks for a clip from a source which nobody checked at submission."""
    payload = VideoJobPayload(source_job_id=source, **fields)
    return type(job)(**{**vars(job), "payload": payload, "kind": JobKind.VIDEO})


def test_the_picture_of_another_tenant_is_one_that_does_not_exist(
    engine: Engine, renderer: ImageRenderer, videos: VideoRenderer, comfyui: ComfyUISimulator
) -> None:
    theirs = picture(renderer, comfyui.url, tenant="other")
    with pytest.raises(PermanentError, match="tenant 'demo' has no image job"):
        submit_clip(engine, theirs.id)
    for source in (theirs.id, uuid4()):
        error = refused(videos, comfyui.url, video_claim(claimed(engine), source))
        assert f"job {source}" in str(error)
        assert "is not among the outputs of tenant demo" in str(error)


def test_a_picture_whose_object_is_gone_is_named(
    engine: Engine, renderer: ImageRenderer, videos: VideoRenderer, comfyui: ComfyUISimulator
) -> None:
    source = picture(renderer, comfyui.url)
    key = f"images/demo/{source.id}/output.png"
    videos.store.delete(key)
    error = refused(videos, comfyui.url, video_claim(claimed(engine), source.id))
    assert isinstance(error, ObjectNotFoundError)
    assert key in str(error)


def test_an_image_workflow_makes_no_clip(
    engine: Engine, renderer: ImageRenderer, videos: VideoRenderer, comfyui: ComfyUISimulator
) -> None:
    source = picture(renderer, comfyui.url)
    job = video_claim(claimed(engine), source.id, workflow="sd15_text_to_image")
    assert "SVD_img2vid_Conditioning node is missing" in str(refused(videos, comfyui.url, job))


def test_each_renderer_refuses_the_jobs_of_the_other(
    engine: Engine, renderer: ImageRenderer, videos: VideoRenderer, comfyui: ComfyUISimulator
) -> None:
    job = claimed(engine)
    assert "not a video job" in str(refused(videos, comfyui.url, job))
    with pytest.raises(PermanentError, match="not an image job"):
        renderer.render(video_claim(job, uuid4()), comfyui.url)

"""One upscale job makes an image of the same tenant larger, and its check compares the sizes."""

import io
from typing import Any
from uuid import UUID, uuid4

import dagster as dg
import pytest
from PIL import Image
from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.manifests.outputs import DayManifest, OutputManifest
from influencerai_dagster.core.sampling import UpscaleSampling
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.values import RenderProgress
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import JobRequest, UpscaleJobPayload
from influencerai_dagster.generation.queue import WorkerRegistration
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.render.session import LiveRender, RenderSession
from influencerai_dagster.generation.render.upscales import UpscaleRenderer
from influencerai_dagster.generation.worker.options import WorkerOptions, WorkerReport
from influencerai_dagster.generation.worker.worker import RenderWorker
from influencerai_dagster.orchestration.generation.upscales import (
    every_upscale_is_larger_than_its_source,
)
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import DAY, claim_all, claim_one
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.jobs import TODAY, claimed, status
from influencerai_dagster_tests.testing.jobs import submit as submit_image
from influencerai_dagster_tests.testing.photos import contents
from influencerai_dagster_tests.testing.render_servers import completed_image, new_render_session


@pytest.fixture
def upscales(
    engine: Engine, object_store: ObjectStore, render_session: RenderSession
) -> UpscaleRenderer:
    return UpscaleRenderer(engine, object_store, render_session)


def submit_upscale(engine: Engine, source: UUID, **fields: Any) -> job_queue.Job:
    request = JobRequest(payload=UpscaleJobPayload(source_job_id=source, **fields))
    with transaction(engine) as session:
        return job_queue.submit(session, "demo", DAY, [request])[0]


def work(upscales: UpscaleRenderer) -> WorkerReport:
    registration = WorkerRegistration("run-1", JobKind.UPSCALE, TODAY.tenant, TODAY.day)
    return RenderWorker(
        upscales.engine,
        upscales.store,
        upscales.render_session,
        upscales,
        registration=registration,
        options=WorkerOptions(idle_timeout_seconds=0),
    ).run()


@pytest.mark.parametrize(
    ("fields", "factor"),
    [
        pytest.param({}, 4, id="default model"),
        pytest.param({"upscale_model": "2x_small.pth"}, 2, id="another model"),
    ],
)
def test_an_image_becomes_larger_and_is_recorded(
    renderer: ImageRenderer,
    upscales: UpscaleRenderer,
    comfyui: ComfyUISimulator,
    fields: dict[str, Any],
    factor: int,
) -> None:
    source = completed_image(renderer, comfyui.url)
    job = submit_upscale(upscales.engine, source.id, **fields)
    before = contents(upscales.store)
    report = work(upscales)
    assert [item.error for item in report.failed] == []
    (output,) = report.completed
    folder = f"upscales/demo/{job.id}/output"
    written = contents(upscales.store)
    assert written.keys() - before.keys() == {f"{folder}.png", f"{folder}.json"}
    assert before.items() <= written.items()
    assert OutputManifest.model_validate_json(written[f"{folder}.json"]) == output
    assert output.source_image_key == f"images/demo/{source.id}/output.png"
    with Image.open(io.BytesIO(written[f"{folder}.png"])) as image:
        assert image.size == (output.width_px, output.height_px) == (64 * factor, 64 * factor)
    assert output.is_simulated
    now = status(upscales.engine, job)
    assert (now.status, now.kind) == (JobStatus.COMPLETED, JobKind.UPSCALE)


def test_the_progress_of_an_upscale_is_seen(
    renderer: ImageRenderer,
    upscales: UpscaleRenderer,
    comfyui: ComfyUISimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submit_upscale(upscales.engine, completed_image(renderer, comfyui.url).id)
    seen: list[float] = []
    note = LiveRender.note

    def recorded(render: LiveRender, event: RenderProgress) -> None:
        note(render, event)
        seen.append(render.progress)

    monkeypatch.setattr(LiveRender, "note", recorded)
    work(upscales)
    assert 0 < max(seen) < 1


def test_an_upscale_waits_until_its_image_is_completed(
    engine: Engine, renderer: ImageRenderer, upscales: UpscaleRenderer, comfyui: ComfyUISimulator
) -> None:
    (image,) = submit_image(engine, "bella")
    job = submit_upscale(engine, image.id)
    assert claim_all(engine, kind=JobKind.UPSCALE) == []
    claim = claim_one(engine)
    output, manifest = renderer.render(claim, comfyui.url)
    with transaction(engine) as session:
        job_queue.complete(session, claim.id, claim.lease_token, output, manifest.object_key)
    assert len(work(upscales).completed) == 1
    assert status(engine, job).status == JobStatus.COMPLETED


def test_an_upscale_of_an_image_that_failed_fails_and_says_so(
    engine: Engine,
) -> None:
    (image,) = submit_image(engine, "bella")
    job = submit_upscale(engine, image.id)
    claim = claim_one(engine)
    with transaction(engine) as session:
        job_queue.fail(session, claim.id, claim.lease_token, PermanentError("out of luck"))
    now = status(engine, job)
    assert now.status == JobStatus.FAILED
    assert str(image.id) in str(now.error)


def refused(upscales: UpscaleRenderer, server: str, job: Any) -> str:
    before = contents(upscales.store)
    with pytest.raises(PermanentError) as caught:
        upscales.render(job, server)
    assert contents(upscales.store) == before
    return str(caught.value)


def upscale_claim(job: job_queue.ClaimedJob, source: UUID, **fields: Any) -> job_queue.ClaimedJob:
    """A claimed job that asks for an upscale of a source which nobody checked at submission."""
    payload = UpscaleJobPayload(source_job_id=source, **fields)
    return type(job)(**{**vars(job), "payload": payload, "kind": JobKind.UPSCALE})


def test_the_image_of_another_tenant_is_one_that_does_not_exist(
    engine: Engine, renderer: ImageRenderer, upscales: UpscaleRenderer, comfyui: ComfyUISimulator
) -> None:
    theirs = completed_image(renderer, comfyui.url, tenant="other")
    with pytest.raises(PermanentError, match="tenant 'demo' has no image job"):
        submit_upscale(engine, theirs.id)
    for source in (theirs.id, uuid4()):
        text = refused(upscales, comfyui.url, upscale_claim(claimed(engine), source))
        assert f"job {source}, which this upscale starts from, is not among the outputs" in text


def test_an_image_workflow_makes_no_upscale_and_another_kind_of_job_none_either(
    engine: Engine, renderer: ImageRenderer, upscales: UpscaleRenderer, comfyui: ComfyUISimulator
) -> None:
    source = completed_image(renderer, comfyui.url)
    job = upscale_claim(claimed(engine), source.id, workflow="sd15_text_to_image")
    assert "an upscale needs a template with ImageUpscaleWithModel" in refused(
        upscales, comfyui.url, job
    )
    assert "not an upscale job" in refused(upscales, comfyui.url, claimed(engine))


def test_a_server_without_upscale_models_names_their_folder(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator, bare: ComfyUISimulator
) -> None:
    source = completed_image(renderer, comfyui.url)
    render_session = new_render_session(bare)
    upscales = UpscaleRenderer(engine, renderer.store, render_session)
    text = refused(upscales, bare.url, upscale_claim(claimed(engine), source.id))
    render_session.server_pool.close()
    assert "the server has no file in models/upscale_models" in text


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        pytest.param((256, 384), None, id="larger"),
        pytest.param((255, 383), None, id="rounded by a pixel"),
        pytest.param((64, 96), "64×96 of 64×96 is not larger", id="as large"),
        pytest.param((32, 48), "32×48 of 64×96 is not larger", id="smaller"),
        pytest.param((256, 400), "256×400 of 64×96 is another aspect ratio", id="stretched"),
    ],
)
def test_an_upscale_that_is_not_larger_or_is_stretched_is_named(
    renderer: ImageRenderer,
    upscales: UpscaleRenderer,
    comfyui: ComfyUISimulator,
    size: tuple[int, int],
    problem: str | None,
) -> None:
    source = completed_image(renderer, comfyui.url)
    submit_upscale(upscales.engine, source.id)
    (output,) = work(upscales).completed
    key = output.file.object_key.replace(".png", ".json")
    recorded = output.model_copy(
        update={
            "width_px": size[0],
            "height_px": size[1],
            "sampling": UpscaleSampling(source_width_px=64, source_height_px=96),
        }
    )
    upscales.store.put_latest(key, recorded.model_dump_json().encode())
    manifest = DayManifest(tenant="demo", day=DAY, kind="upscales", outputs=(output.file,))
    result = every_upscale_is_larger_than_its_source(manifest, object_store=upscales.store)
    assert isinstance(result, dg.AssetCheckResult)
    assert result.passed is (problem is None)
    shown = (result.metadata or {})["not_larger"].value
    assert shown == ([] if problem is None else [f"{output.file.object_key}: {problem}"])


def test_an_upscale_whose_record_is_gone_is_named(
    engine: Engine, renderer: ImageRenderer, upscales: UpscaleRenderer, comfyui: ComfyUISimulator
) -> None:
    source = completed_image(renderer, comfyui.url)
    submit_upscale(engine, source.id)
    (output,) = work(upscales).completed
    upscales.store.delete(output.file.object_key.replace(".png", ".json"))
    manifest = DayManifest(tenant="demo", day=DAY, kind="upscales", outputs=(output.file,))
    result = every_upscale_is_larger_than_its_source(manifest, object_store=upscales.store)
    assert isinstance(result, dg.AssetCheckResult)
    assert not result.passed

"""A job goes to a server that has what it needs, and fails only if none has."""

import shutil
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.render.session import OtherServerError
from influencerai_dagster.generation.worker.options import WorkerReport
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.jobs import add_lora, claimed, status, submit
from influencerai_dagster_tests.testing.render_servers import new_render_session
from influencerai_dagster_tests.testing.render_workers import work_until_idle

XL = "their-own-xl.safetensors"
SD = "v1-5-pruned-emaonly.safetensors"
AWAY = "http://127.0.0.1:9"


@pytest.fixture
def two(
    engine: Engine, object_store: ObjectStore, comfyui: ComfyUISimulator, bare: ComfyUISimulator
) -> Iterator[ImageRenderer]:
    """A renderer of a server that has all base models, and one that has one."""
    render_session = new_render_session(comfyui, bare.url)
    yield ImageRenderer(engine, object_store, render_session)
    render_session.server_pool.close()


def servers_of(report: WorkerReport) -> set[str]:
    return {output.comfyui_url for output in report.completed}


def test_jobs_for_a_model_that_only_one_server_has_are_rendered_there(
    engine: Engine, two: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    jobs = submit(engine, *(f"image {number}" for number in range(6)), base_model=XL)
    report = work_until_idle(two)
    assert servers_of(report) == {comfyui.url}
    assert {status(engine, job).status for job in jobs} == {JobStatus.COMPLETED}
    assert {status(engine, job).attempt for job in jobs} == {1}
    # What was sent to the other server first came back at once, and nothing more went there.
    assert all(". It goes to" in str(job.error) for job in report.failed)
    assert len(report.failed) <= 4


def test_the_other_server_is_used_for_the_jobs_that_it_can_serve(
    engine: Engine, two: ImageRenderer, comfyui: ComfyUISimulator, bare: ComfyUISimulator
) -> None:
    comfyui.faults(seconds_per_step=0.3)
    large = submit(engine, "a", "b", "c", "d", base_model=XL)
    small = submit(engine, *(f"image {number}" for number in range(8)), base_model=SD)
    report = work_until_idle(two)
    made = {output.job_id: output.comfyui_url for output in report.completed}
    assert {made[job.id] for job in large} == {comfyui.url}
    assert bare.url in {made[job.id] for job in small}


def test_a_model_that_no_server_has_fails_the_job_and_names_the_servers(
    engine: Engine, two: ImageRenderer, comfyui: ComfyUISimulator, bare: ComfyUISimulator
) -> None:
    (job,) = submit(engine, "a", base_model="nope.safetensors")
    work_until_idle(two)
    now = status(engine, job)
    assert now.status is JobStatus.FAILED
    for part in ("none of", comfyui.url, bare.url, "'ckpt_name' is 'nope.safetensors'"):
        assert part in str(now.error)


def test_a_job_that_nobody_can_render_holds_up_no_other_of_its_tenant(
    engine: Engine, two: ImageRenderer
) -> None:
    (bad,) = submit(engine, "a", sampler_name="nope")
    (good,) = submit(engine, "b")
    work_until_idle(two)
    assert status(engine, bad).status is JobStatus.FAILED
    assert status(engine, good).status is JobStatus.COMPLETED
    assert two.render_session.unfit_needs() == {}


def test_a_damaged_file_on_one_server_is_no_failed_job(
    engine: Engine, two: ImageRenderer, comfyui: ComfyUISimulator, bare: ComfyUISimulator
) -> None:
    whole = comfyui.models_dir / "checkpoints" / XL
    cut = bare.models_dir / "checkpoints" / XL
    cut.write_bytes(whole.read_bytes()[:1000])
    jobs = submit(engine, "a", "b", "c", base_model=XL)
    report = work_until_idle(two)
    assert servers_of(report) == {comfyui.url}
    assert {status(engine, job).status for job in jobs} == {JobStatus.COMPLETED}


def test_a_file_that_is_damaged_everywhere_fails_the_job(
    engine: Engine, two: ImageRenderer, comfyui: ComfyUISimulator, bare: ComfyUISimulator
) -> None:
    for server in (comfyui, bare):
        (server.models_dir / "checkpoints" / "cut.safetensors").write_bytes(b"\x08\0\0\0")
    (job,) = submit(
        engine, "a", base_model="cut.safetensors", workflow="sd15_text_to_image", cfg=7.0
    )
    work_until_idle(two)
    (comfyui.models_dir / "checkpoints" / "cut.safetensors").unlink()
    now = status(engine, job)
    assert now.status is JobStatus.FAILED
    assert "none of" in str(now.error)


def test_a_server_without_the_folder_of_loras_gets_no_job_that_needs_one(
    engine: Engine, two: ImageRenderer, comfyui: ComfyUISimulator, bare: ComfyUISimulator
) -> None:
    add_lora(engine, two.store)
    (bare.models_dir / "loras").unlink()
    (bare.models_dir / "loras").mkdir()
    jobs = submit(engine, "a", "b", "c", loras=({"dataset": "bella"},))
    report = work_until_idle(two)
    assert servers_of(report) == {comfyui.url}
    assert {status(engine, job).status for job in jobs} == {JobStatus.COMPLETED}


def test_a_job_waits_for_a_server_that_is_away_and_may_have_its_model(
    engine: Engine, object_store: ObjectStore, bare: ComfyUISimulator
) -> None:
    render_session = new_render_session(bare, AWAY)
    job = claimed(engine, base_model=XL)
    with pytest.raises(OtherServerError, match=f"{AWAY} may be able to"):
        ImageRenderer(engine, object_store, render_session).render(job, bare.url)
    assert render_session.unfit_needs() == {bare.url: {job.need}}
    render_session.server_pool.close()


def test_a_file_that_is_placed_later_is_found(
    engine: Engine, two: ImageRenderer, comfyui: ComfyUISimulator, bare: ComfyUISimulator
) -> None:
    late = "late.safetensors"
    with two.render_session.server_pool as server_pool:
        assert late not in server_pool[bare.url].object_info().choices(
            "CheckpointLoaderSimple", "ckpt_name"
        )
        shutil.copy(comfyui.models_dir / "checkpoints" / XL, bare.models_dir / "checkpoints" / late)
        (job,) = submit(engine, "a", base_model=late, workflow="sd15_text_to_image", cfg=7.0)
        work_until_idle(two)
    assert status(engine, job).status is JobStatus.COMPLETED

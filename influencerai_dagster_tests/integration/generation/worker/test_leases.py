"""Workers that die, lose a lease or share a day: every job is rendered once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.queue import ClaimedJob
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster_tests.testing.catalog_rows import (
    claim_all,
    claim_one,
    end_backoff,
    run_out_leases,
)
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.jobs import TODAY, status, submit
from influencerai_dagster_tests.testing.photos import contents
from influencerai_dagster_tests.testing.render_workers import (
    SLOW_STEPS,
    num_workers,
    prompts_of,
    work_until_idle,
)
from influencerai_dagster_tests.testing.waiting import wait_until


def lose_worker(engine: Engine, job: job_queue.Job) -> None:
    """The worker of a job died: its lease ran out, and the backoff after that is over."""
    run_out_leases(engine, job)
    with transaction(engine) as session:
        assert job_queue.expire_leases(session) == 1
    end_backoff(engine)


def test_what_a_dead_worker_rendered_is_fetched_and_not_rendered_twice(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    (job,) = submit(engine, "bella")
    dead = claim_one(engine)
    renderer.render(dead, comfyui.url)  # and dies before it tells the job queue
    lose_worker(engine, job)
    (output,) = work_until_idle(renderer).completed
    assert output.prompt_id == prompt_id(job.id, 1)
    assert output.file.object_key.endswith("output-2.png")
    prompts = prompts_of(comfyui, job)
    assert list(prompts) == [prompt_id(job.id, 1)]
    assert prompts[prompt_id(job.id, 1)]["rendered"] == 1


def test_what_a_dead_worker_rendered_is_rendered_again_if_the_server_forgot_it(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    (job,) = submit(engine, "bella")
    renderer.render(claim_one(engine), comfyui.url)
    with ComfyUIClient(comfyui.url) as client:
        client.forget(prompt_id(job.id, 1))
    lose_worker(engine, job)
    (output,) = work_until_idle(renderer).completed
    assert output.prompt_id == prompt_id(job.id, 2)
    assert len(prompts_of(comfyui, job)) == 2


def test_two_workers_share_the_jobs_without_a_double(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    jobs = submit(engine, *(f"image {number}" for number in range(10)))
    own = [job.id for job in jobs]  # a run with jobs of its own stays beside another
    with ThreadPoolExecutor(2) as pool:
        owners = ("run-1", "run-2")
        reports = list(
            pool.map(lambda owner: work_until_idle(renderer, owner=owner, own_jobs=own), owners)
        )
    done = [output.job_id for report in reports for output in report.completed]
    assert sorted(done) == sorted(job.id for job in jobs)
    prompts = prompts_of(comfyui, *jobs)
    assert len(prompts) == len(jobs)
    assert {item["rendered"] for item in prompts.values()} == {1}
    assert len(contents(renderer.store, "images/demo/")) == 2 * len(jobs)


class Losing(ImageRenderer):
    """A worker that loses its job to a cancellation just before it completes it."""

    def render(self, job: ClaimedJob, server: str) -> tuple[OutputManifest, StoredFile]:
        made = super().render(job, server)
        with transaction(self.engine) as session:
            job_queue.cancel(session, job.tenant, job.id)
        return made


def test_a_worker_that_lost_its_job_records_nothing(
    engine: Engine, renderer: ImageRenderer
) -> None:
    (job,) = submit(engine, "cancelled")
    losing = Losing(renderer.engine, renderer.store, renderer.render_session)
    (failed,) = work_until_idle(losing).failed
    assert failed.output is None
    assert status(engine, job).status is JobStatus.CANCELLED
    with transaction(engine) as session:
        assert job_queue.outputs_of_day(session, TODAY, JobKind.IMAGE) == []


def test_leases_are_renewed_and_a_cancelled_job_is_stopped_on_its_server(
    engine: Engine,
    renderer: ImageRenderer,
    comfyui: ComfyUISimulator,
) -> None:
    comfyui.faults(seconds_per_step=0.1)  # 20 s
    (job,) = submit(engine, "slow", steps=SLOW_STEPS)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work_until_idle, renderer, lease_seconds=0.8)
        wait_until(lambda: status(engine, job).lease_expires_at is not None, "it is claimed")
        first = status(engine, job).lease_expires_at

        def is_renewed_twice() -> bool:
            now = status(engine, job).lease_expires_at
            return now is not None and first is not None and (now - first).total_seconds() > 0.4

        wait_until(is_renewed_twice, "its lease is renewed")
        assert claim_all(engine) == []
        with transaction(engine) as session:
            job_queue.cancel(session, "demo", job.id)
        report = working.result(timeout=10)
    assert [item.job_id for item in report.failed] == [job.id]
    assert status(engine, job).status is JobStatus.CANCELLED
    assert prompts_of(comfyui, job)[prompt_id(job.id, 1)]["outcome"] == "execution_interrupted"


def test_own_jobs_are_waited_for_whoever_renders_them(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    (job,) = submit(engine, "theirs")
    other = claim_one(engine, owner="another run")
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work_until_idle, renderer, own_jobs=[job.id])
        wait_until(lambda: num_workers(engine) == 1, "it polls")
        assert not working.done()
        made, manifest = renderer.render(other, comfyui.url)
        with transaction(engine) as session:
            job_queue.complete(session, job.id, other.lease_token, made, manifest.object_key)
        assert working.result(timeout=10).jobs == []


def test_a_second_run_for_the_same_day_ends_at_once(
    engine: Engine, renderer: ImageRenderer
) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(work_until_idle, renderer, idle_timeout_seconds=4)
        wait_until(lambda: num_workers(engine) == 1, "it waits for jobs")
        (job,) = submit(engine, "for the first")
        second = work_until_idle(
            renderer, owner="run-2", idle_timeout_seconds=60, earlier_worker_seconds=1.5
        )
        assert (second.jobs, second.was_preempted) == ([], True)
        assert [item.job_id for item in first.result(timeout=20).jobs] == [job.id]


def test_a_worker_whose_run_was_ended_as_stalled_stops_and_touches_nothing(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    comfyui.faults(seconds_per_step=0.05)
    (job,) = submit(engine, "slow", steps=40)

    def end_as_stalled() -> int:
        if status(engine, job).progress == 0:
            return 0
        with transaction(engine) as session:
            assert job_queue.expire_leases(session, owner="run-1") == 1
        raise KeyboardInterrupt  # as Dagster raises when a run is terminated

    with pytest.raises(KeyboardInterrupt):
        work_until_idle(renderer, num_waiting=end_as_stalled, lease_seconds=0.4)
    assert status(engine, job).status is JobStatus.PENDING
    prompts = prompts_of(comfyui, job)
    assert prompts[prompt_id(job.id, 1)]["outcome"] == "execution_success", "the next one wants it"
    end_backoff(engine)
    (output,) = work_until_idle(renderer, owner="run-2").completed
    assert output.prompt_id == prompt_id(job.id, 1)

"""Rendering the queue: every job ends once, whatever fails, stops or is shared meanwhile."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.core.sampling import ImageSampling
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.server import ServerTimes
from influencerai_dagster.engines.comfyui.server_pool import ServerPool
from influencerai_dagster.engines.comfyui.templates import fill_image_workflow, shipped_template
from influencerai_dagster.errors import TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.queue import ClaimedJob, WorkerRegistration
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.worker.options import FinishedJob, WorkerOptions, WorkerReport
from influencerai_dagster.generation.worker.worker import RenderWorker
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import (
    claim_all,
    claim_one,
    end_backoff,
    run_out_leases,
)
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.jobs import TODAY, status, submit
from influencerai_dagster_tests.testing.photos import contents
from influencerai_dagster_tests.testing.render_servers import OFTEN
from influencerai_dagster_tests.testing.waiting import wait_until

SLOW_STEPS = 200
QUICK = {"idle_timeout_seconds": 0.0, "preemption_check_seconds": 0.25, "avoid_seconds": 0.5}


def work_until_idle(
    renderer: ImageRenderer,
    *,
    owner: str = "run-1",
    urls: Sequence[str] | None = None,
    times: ServerTimes = OFTEN,
    **rules: Any,
) -> WorkerReport:
    """Work with a server pool of its own, as every run has."""
    servers = urls or [server.client.url for server in renderer.render_session.server_pool]
    render_session = replace(
        renderer.render_session,
        server_pool=ServerPool(servers, times),
        stopping=threading.Event(),
        renders={},
        stopped=set(),
    )
    return RenderWorker(
        renderer.engine,
        renderer.store,
        render_session,
        type(renderer)(renderer.engine, renderer.store, render_session),
        registration=WorkerRegistration(owner, JobKind.IMAGE, TODAY.tenant, TODAY.day),
        options=WorkerOptions(**QUICK | rules),
    ).run()


def prompts_of(comfyui: ComfyUISimulator, *jobs: job_queue.Job) -> dict[str, dict[str, Any]]:
    """What the server did for the first three claims of these jobs."""
    wanted = {prompt_id(job.id, claim) for job in jobs for claim in (1, 2, 3)}
    prompts: dict[str, dict[str, Any]] = comfyui.stats()["prompts"]
    return {key: value for key, value in prompts.items() if key in wanted}


def test_every_pending_job_is_rendered_once_and_recorded(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    jobs = submit(engine, "one", "two", "three", "four", "five")
    reported: list[UUID] = []
    report = work_until_idle(renderer, on_finished=lambda job: reported.append(job.job_id))
    assert {output.job_id for output in report.completed} == {job.id for job in jobs}
    assert reported == [job.job_id for job in report.jobs]
    assert report.failed == []
    for job in jobs:
        now = status(engine, job)
        assert (now.status, now.attempt, now.lease_owner) == (JobStatus.COMPLETED, 1, None)
    with transaction(engine) as session:
        outputs = job_queue.outputs_of_day(session, TODAY, JobKind.IMAGE)
    assert all(renderer.store.read(output) for output in outputs)
    assert len(outputs) == len(jobs)
    done = prompts_of(comfyui, *jobs)
    assert {item["posted"] for item in done.values()} == {1}
    assert len(done) == len(jobs)


def test_without_jobs_and_idle_timeout_a_worker_ends_at_once(renderer: ImageRenderer) -> None:
    started = time.monotonic()
    assert work_until_idle(renderer, poll_seconds=30.0).jobs == []
    assert time.monotonic() - started < 30, "it has waited for a poll"


def test_jobs_of_other_tenants_days_and_kinds_are_left_alone(
    engine: Engine, renderer: ImageRenderer
) -> None:
    (theirs,) = submit(engine, "theirs", tenant="other")
    assert work_until_idle(renderer).jobs == []
    assert status(engine, theirs).status is JobStatus.PENDING


def test_a_job_that_comes_while_a_worker_is_idle_is_rendered_by_it(
    engine: Engine, renderer: ImageRenderer
) -> None:
    timer = threading.Timer(0.2, submit, (engine, "late"))
    timer.start()
    report = work_until_idle(renderer, idle_timeout_seconds=1)
    timer.join()
    assert len(report.completed) == 1


def test_a_job_that_is_submitted_while_others_render_is_rendered_too(
    engine: Engine, renderer: ImageRenderer
) -> None:
    submit(engine, "first")
    more = iter(["second", "third"])

    def add_one(_: FinishedJob) -> None:
        for prompt in more:
            submit(engine, prompt)
            return

    assert len(work_until_idle(renderer, on_finished=add_one).completed) == 3


def test_a_job_that_cannot_be_made_fails_for_good_and_the_others_go_on(
    engine: Engine, renderer: ImageRenderer
) -> None:
    (bad,) = submit(engine, "bad", sampler_name="no such sampler")
    good = submit(engine, "one", "two")
    report = work_until_idle(renderer)
    assert {output.job_id for output in report.completed} == {job.id for job in good}
    (failed,) = report.failed
    assert failed.job_id == bad.id
    now = status(engine, bad)
    assert (now.status, now.attempt, now.error_class) == (JobStatus.FAILED, 1, "PermanentError")
    assert now.error == failed.error
    assert "no such sampler" in (now.error or "")


def test_a_node_that_fails_for_good_fails_the_job(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    comfyui.faults(fail_next=1, fail_type="ValueError", fail_message="shapes do not match")
    (job,) = submit(engine, "bad")
    work_until_idle(renderer)
    now = status(engine, job)
    assert now.status is JobStatus.FAILED
    assert "KSampler" in (now.error or "")
    assert "shapes do not match" in (now.error or "")


def test_a_passing_failure_sends_the_job_back_to_wait(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    comfyui.faults(fail_next=1)
    (job,) = submit(engine, "unlucky")
    (failed,) = work_until_idle(renderer).failed
    now = status(engine, job)
    assert (now.status, now.attempt, now.error_class) == (JobStatus.PENDING, 1, "TransientError")
    assert now.error == failed.error
    assert now.not_before > now.created_at
    end_backoff(engine)
    assert len(work_until_idle(renderer).completed) == 1
    assert status(engine, job).error is None


class OutOfMemory(ImageRenderer):
    """A worker whose machine has no memory left when it looks at what was rendered."""

    def render(self, job: ClaimedJob, server: str) -> tuple[OutputManifest, StoredFile]:
        super().render(job, server)
        raise MemoryError


def test_a_lack_of_memory_is_a_passing_failure_of_the_job(
    engine: Engine, renderer: ImageRenderer
) -> None:
    (job,) = submit(engine, "large")
    (failed,) = work_until_idle(
        OutOfMemory(renderer.engine, renderer.store, renderer.render_session)
    ).failed
    assert failed.error == "the worker had too little free memory"
    now = status(engine, job)
    assert (now.status, now.error_class) == (JobStatus.PENDING, "TransientError")
    end_backoff(engine)
    assert len(work_until_idle(renderer).completed) == 1


def test_a_job_fails_after_its_third_passing_failure(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    comfyui.faults(fail_next=3)
    (job,) = submit(engine, "unlucky")
    for _ in range(3):
        assert len(work_until_idle(renderer).failed) == 1
        end_backoff(engine)
    assert status(engine, job).status is JobStatus.FAILED
    assert work_until_idle(renderer).jobs == []


def test_a_server_that_is_away_gets_no_job(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    jobs = submit(engine, "one", "two", "three")
    report = work_until_idle(renderer, urls=["http://127.0.0.1:9", comfyui.url])
    assert len(report.completed) == 3
    assert {status(engine, job).attempt for job in jobs} == {1}


def test_while_no_server_answers_jobs_wait_and_lose_no_attempt(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    comfyui.faults(refuse_connections_seconds=1.5)
    (job,) = submit(engine, "persistent")
    assert len(work_until_idle(renderer).completed) == 1
    assert status(engine, job).attempt == 1


def test_a_server_that_restarts_costs_no_attempt_of_those_that_wait_there(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    comfyui.faults(seconds_per_step=1.0)
    render_session = replace(
        renderer.render_session, timeout_seconds=600
    )  # its render ends with the server
    jobs = submit(engine, "one", "two", steps=SLOW_STEPS)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(
            work_until_idle, ImageRenderer(engine, renderer.store, render_session)
        )
        wait_until(lambda: len(prompts_of(comfyui, *jobs)) == 2, "both are there")
        wait_until(lambda: bool(comfyui.stats()["order"]), "one runs")
        running, waiting = sorted(
            jobs, key=lambda job: prompt_id(job.id, 1) not in comfyui.stats()["order"]
        )
        wait_until(lambda: status(engine, running).progress > 0, "its worker knows")
        comfyui.restart()  # quick again
        wait_until(lambda: status(engine, running).error is not None, "its render is lost")
        end_backoff(engine)
        working.result(timeout=120)
    assert (status(engine, running).attempt, status(engine, waiting).attempt) == (2, 1)
    assert status(engine, running).status is JobStatus.COMPLETED
    assert status(engine, waiting).status is JobStatus.COMPLETED


def test_a_server_whose_worker_thread_died_loses_its_jobs_to_another_without_an_attempt(
    engine: Engine,
    renderer: ImageRenderer,
    comfyui: ComfyUISimulator,
    second_comfyui: ComfyUISimulator,
) -> None:
    kill_worker(second_comfyui)
    jobs = submit(engine, *(f"image {number}" for number in range(6)))
    servers = [second_comfyui.url, comfyui.url]
    report = work_until_idle(renderer, urls=servers, times=replace(OFTEN, hung_seconds=2))
    assert len(report.completed) == 6
    assert {status(engine, job).attempt for job in jobs} == {1}
    assert {output.comfyui_url for output in report.completed} == {comfyui.url}


def test_what_waits_behind_a_prompt_that_never_ends_goes_elsewhere_without_losing_an_attempt(
    engine: Engine,
    renderer: ImageRenderer,
    comfyui: ComfyUISimulator,
    second_comfyui: ComfyUISimulator,
) -> None:
    second_comfyui.faults(hang_worker=True)
    _post(second_comfyui, "stuck")
    wait_until(lambda: second_comfyui.stats()["order"] == ["stuck"], "it is stuck")
    jobs = submit(engine, *(f"image {number}" for number in range(6)))
    servers = [second_comfyui.url, comfyui.url]
    report = work_until_idle(renderer, urls=servers, times=replace(OFTEN, stuck_seconds=1))
    assert len(report.completed) == 6
    assert {status(engine, job).attempt for job in jobs} == {1}
    assert {output.comfyui_url for output in report.completed} == {comfyui.url}


def kill_worker(comfyui: ComfyUISimulator) -> None:
    """End the worker thread by equal numbers and ids (docs/protocols/comfyui.md, point 2)."""
    comfyui.faults(seconds_per_step=0.2)
    _post(comfyui, "first")
    for color in range(3):
        workflow = {
            "1": {
                "class_type": "EmptyImage",
                "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": color},
            },
            "2": {
                "class_type": "SaveImage",
                "inputs": {"images": ["1", 0], "filename_prefix": "tie"},
            },
        }
        body = {"prompt": workflow, "prompt_id": "tie", "number": 900}
        httpx.post(f"{comfyui.url}/prompt", json=body)
    wait_until(lambda: not comfyui.stats()["is_worker_alive"], "its worker is dead")


def test_a_worker_that_is_stopped_requeues_its_jobs_and_interrupts_only_its_prompts(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    comfyui.faults(seconds_per_step=0.1)
    jobs = submit(engine, "one", "two", steps=SLOW_STEPS)  # 20 s each
    foreign, stopped_at = str(uuid4()), list[float]()

    def stop() -> int:
        ours = prompts_of(comfyui, *jobs)
        if len(ours) < 2 or not set(comfyui.stats()["order"]) & ours.keys():
            return 0
        _post(comfyui, foreign)
        stopped_at.append(time.monotonic())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_until_idle(renderer, num_waiting=stop)
    assert time.monotonic() - stopped_at[0] < 10, "the queued prompt is not waited for"
    for job in jobs:
        now = status(engine, job)
        assert (now.status, now.attempt, now.error) == (JobStatus.PENDING, 0, None)
    wait_until(lambda: comfyui.stats()["prompts"][foreign]["outcome"] is not None, "foreign ended")
    assert comfyui.stats()["prompts"][foreign]["outcome"] == "execution_success"
    ours = prompts_of(comfyui, *jobs).values()
    assert {item["outcome"] for item in ours} <= {None, "execution_interrupted"}
    comfyui.faults(seconds_per_step=0.0)
    assert len(work_until_idle(renderer, owner="run-2").completed) == 2, "and nothing is lost"


def _post(comfyui: ComfyUISimulator, prompt: str, steps: int = 1) -> None:
    """Queue a prompt of somebody else."""
    sampling = ImageSampling(
        prompt="foreign",
        seed=1,
        steps=steps,
        width_px=64,
        height_px=64,
        base_model="v1-5-pruned-emaonly.safetensors",
    )
    workflow = fill_image_workflow(
        shipped_template("sd15_text_to_image"), sampling, filename_prefix=f"foreign/{prompt}"
    )
    with ComfyUIClient(comfyui.url) as client:
        client.submit(workflow, prompt_id=prompt, client_id="foreign")


def test_the_queue_of_a_server_counts_as_waiting_and_not_as_render_time(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    comfyui.faults(seconds_per_step=0.3)
    foreign = f"foreign-{uuid4()}"
    _post(comfyui, foreign, steps=SLOW_STEPS)
    (submitted,) = submit(engine, "bella", steps=1)
    with ThreadPoolExecutor(1) as pool, ComfyUIClient(comfyui.url) as client:
        working = pool.submit(work_until_idle, renderer)
        wait_until(lambda: len(prompts_of(comfyui, submitted)) == 1, "it waits on the server")
        queued_at = time.monotonic()
        wait_until(lambda: time.monotonic() - queued_at > 0.5, "it has waited there")
        queued_seconds = time.monotonic() - queued_at
        client.cancel(foreign)
        (job,) = working.result(timeout=60).jobs
    assert job.output is not None
    assert job.seconds == job.output.render_seconds
    assert job.wait_seconds >= queued_seconds


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
        wait_until(lambda: _num_workers(engine) == 1, "it polls")
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
        wait_until(lambda: _num_workers(engine) == 1, "it waits for jobs")
        (job,) = submit(engine, "for the first")
        second = work_until_idle(
            renderer, owner="run-2", idle_timeout_seconds=60, earlier_worker_seconds=1.5
        )
        assert (second.jobs, second.was_preempted) == ([], True)
        assert [item.job_id for item in first.result(timeout=20).jobs] == [job.id]


def _num_workers(engine: Engine) -> int:
    with transaction(engine) as session:
        return int(session.execute(text("SELECT count(*) FROM workers")).scalar_one())


def test_a_worker_that_had_its_time_slice_yields_when_another_run_waits(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    comfyui.faults(seconds_per_step=0.3)
    jobs = submit(engine, *(f"image {number}" for number in range(40)))
    report = work_until_idle(
        renderer, time_slice_seconds=0, num_waiting=lambda: 1, idle_timeout_seconds=60
    )
    assert report.was_preempted
    assert 0 < report.num_completed < len(jobs)
    now = [status(engine, job).status for job in jobs]
    assert set(now) == {JobStatus.COMPLETED, JobStatus.PENDING}


def test_a_worker_that_is_only_idle_yields_at_once(
    renderer: ImageRenderer,
) -> None:
    started = time.monotonic()
    assert work_until_idle(renderer, num_waiting=lambda: 1, idle_timeout_seconds=60).was_preempted
    assert time.monotonic() - started < 30


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


class Unreachable(ObjectStore):
    """A bucket whose server is away for its first writes."""

    def __init__(self, store: ObjectStore, num_failures: int) -> None:
        super().__init__(store.client, store.bucket)
        self.failures_left = num_failures

    def put_new(self, key: str, data: bytes | Path, **options: Any) -> StoredFile:
        if self.failures_left:
            self.failures_left -= 1
            raise TransientError("S3 is away")
        return super().put_new(key, data, **options)


def test_what_is_rendered_waits_for_s3_without_losing_an_attempt_or_rendering_again(
    engine: Engine, renderer: ImageRenderer, comfyui: ComfyUISimulator
) -> None:
    (job,) = submit(engine, "persistent")
    renderer.store = Unreachable(renderer.store, num_failures=1)
    assert len(work_until_idle(renderer).completed) == 1
    assert status(engine, job).attempt == 1
    assert [item["rendered"] for item in prompts_of(comfyui, job).values()] == [1]


def test_a_new_job_reaches_an_idle_worker_long_before_its_next_poll(
    engine: Engine, renderer: ImageRenderer
) -> None:
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work_until_idle, renderer, idle_timeout_seconds=3, poll_seconds=5.0)
        wait_until(lambda: _num_workers(engine) == 1, "it waits for jobs")
        seconds = []
        for number in range(5):
            started = time.monotonic()
            (job,) = submit(engine, f"quick {number}")
            wait_until(partial(_is_done, engine, job), "it is rendered")
            seconds.append(time.monotonic() - started)
        assert len(working.result(timeout=20).completed) == 5
    assert sorted(seconds)[2] < 2.5, "waiting for a poll would take longer at the median"


def _is_done(engine: Engine, job: job_queue.Job) -> bool:
    return status(engine, job).status is JobStatus.COMPLETED

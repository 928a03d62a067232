"""Rendering the queue: every job ends once, whatever fails, stops or is shared meanwhile."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import ClaimedJob
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.worker.options import FinishedJob
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import end_backoff
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.jobs import TODAY, status, submit
from influencerai_dagster_tests.testing.render_workers import (
    SLOW_STEPS,
    num_workers,
    post_prompt,
    prompts_of,
    work_until_idle,
)
from influencerai_dagster_tests.testing.waiting import wait_until


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
        post_prompt(comfyui, foreign)
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
        wait_until(lambda: num_workers(engine) == 1, "it waits for jobs")
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

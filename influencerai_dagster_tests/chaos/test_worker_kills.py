"""The worker is killed at every line where something changes: another one finishes the job.

The places are reached from outside: proxies hold requests and answers back, the simulator and the
catalog tell how far the worker is.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, Engine, text

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster_tests.chaos.workbench import HELD_SECONDS, Workbench

SUCCESS = "execution_success"


def test_a_worker_killed_before_it_submits_is_followed_by_one_that_renders(
    workbench: Workbench,
) -> None:
    job = workbench.submit()
    workbench.kill_worker_at(workbench.comfyui_proxy, rb"POST /prompt")
    assert workbench.renders(job) == {}
    workbench.finish_by_another_worker(job)
    assert workbench.renders(job) == {2: SUCCESS}
    assert workbench.output(job).object_key.endswith("/output-2.png")


def test_a_worker_killed_before_it_knows_that_it_submitted_has_submitted(
    workbench: Workbench,
) -> None:
    job = workbench.submit()
    workbench.kill_worker_at(workbench.comfyui_proxy, rb"POST /prompt", is_answer=True)
    workbench.finish_by_another_worker(job)
    assert workbench.renders(job) == {1: SUCCESS}
    assert workbench.output(job).object_key.endswith("/output-2.png")


def test_a_render_whose_worker_was_killed_is_waited_for(workbench: Workbench) -> None:
    workbench.comfyui.faults(seconds_per_step=0.1)
    job = workbench.submit(steps=200)  # 20 s
    workbench.start_worker()
    workbench.wait_until(lambda: workbench.renders(job) == {1: None}, "it is posted")
    workbench.wait_until(lambda: bool(workbench.comfyui.stats()["order"]), "it renders")
    workbench.kill_worker()
    workbench.comfyui.faults(seconds_per_step=0.01)
    workbench.finish_by_another_worker(job)
    assert workbench.renders(job) == {1: SUCCESS}
    assert workbench.output(job)


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(rb"GET /view", id="before it has the image"),
        pytest.param(rb"PUT /\S+/output\.png", id="before the image is stored"),
        pytest.param(rb"PUT /\S+/output\.json", id="before output.json is stored"),
    ],
)
def test_a_finished_render_of_a_killed_worker_is_fetched_and_not_rendered_again(
    workbench: Workbench, pattern: bytes
) -> None:
    is_s3 = pattern.startswith(b"PUT")
    job = workbench.submit()
    proxy = workbench.s3_proxy if is_s3 else workbench.comfyui_proxy
    workbench.kill_worker_at(proxy, pattern)
    workbench.finish_by_another_worker(job)
    assert workbench.renders(job) == {1: SUCCESS}
    assert workbench.output(job).object_key.endswith("/output-2.png")


def test_what_a_killed_worker_stored_but_did_not_record_is_recorded_once(
    workbench: Workbench,
) -> None:
    job = workbench.submit()
    with workbench.s3_proxy.holding(rb"PUT /\S+/output\.json") as hold:
        workbench.start_worker()
        assert hold.arrived.wait(HELD_SECONDS), workbench.log()
        with locked_row(workbench.engine, job) as connection:
            hold.release()
            workbench.wait_until(lambda: _waits_for_lock(connection), "it completes the job")
            workbench.kill_worker()
    stored = {item.key.rsplit("/", 1)[1] for item in workbench.store.list("images/")}
    assert stored == {"output.png", "output.json"}
    assert workbench.status(job) is JobStatus.RUNNING
    workbench.finish_by_another_worker(job)
    assert workbench.renders(job) == {1: SUCCESS}
    assert workbench.output(job).object_key.endswith("/output-2.png")


def test_a_worker_killed_after_its_job_was_completed_leaves_nothing_to_do(
    workbench: Workbench,
) -> None:
    job = workbench.submit()
    workbench.start_worker()
    workbench.wait_until(lambda: workbench.status(job) is JobStatus.COMPLETED, "it is completed")
    workbench.kill_worker()
    with transaction(workbench.engine) as session:
        assert job_queue.expire_leases(session) == 0
        assert job_queue.days_with_claimable_jobs(session, JobKind.IMAGE) == []
    assert workbench.renders(job) == {1: SUCCESS}
    assert workbench.output(job).object_key.endswith("/output.png")


def test_a_worker_frozen_beyond_its_lease_changes_nothing_when_it_wakes_up(
    workbench: Workbench,
) -> None:
    job = workbench.submit()
    with workbench.comfyui_proxy.holding(rb"GET /view", is_answer=True) as hold:
        frozen = workbench.start_worker()
        assert hold.arrived.wait(HELD_SECONDS), workbench.log()
        assert frozen.pid is not None
        os.kill(frozen.pid, signal.SIGSTOP)
        hold.release()
    workbench.finish_by_another_worker(job)
    before = workbench.now(job), workbench.output(job)
    os.kill(frozen.pid, signal.SIGCONT)
    workbench.wait_until(lambda: str(job.id) in workbench.log(1), "the first worker gave up")
    assert "was lost" in workbench.log(1)
    assert (workbench.now(job), workbench.output(job)) == before
    assert workbench.renders(job) == {1: SUCCESS}


@contextmanager
def locked_row(engine: Engine, job: job_queue.Job) -> Iterator[Connection]:
    """Hold the row of a job, so that nobody can end it."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE"), {"id": job.id})
        yield connection
        connection.rollback()


def _waits_for_lock(connection: Connection) -> bool:
    statement = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return bool(connection.execute(statement).scalar_one())

"""Who waits for a slot of a pool, on an instance whose queue nobody empties."""

from collections.abc import Iterator
from uuid import uuid4

import dagster as dg
import pytest

from influencerai_dagster.orchestration.pools import num_runs_waiting_for_pool
from influencerai_dagster_tests.testing.dagster_server import job_origin, queued_instance

POOL = "gpu"


@dg.op(pool=POOL)
def render() -> None: ...


@dg.op(pool="cpu")
def count() -> None: ...


@dg.op
def look() -> None: ...


@dg.op(ins={"start": dg.In(dg.Nothing)}, pool=POOL)
def train() -> None: ...


@dg.job
def render_job() -> None:
    render()


@dg.job
def count_job() -> None:
    count()


@dg.job
def look_then_train_job() -> None:
    train(look())


@pytest.fixture(scope="module")
def server() -> Iterator[dg.DagsterInstance]:
    with queued_instance() as instance:
        yield instance


@pytest.fixture
def instance(server: dg.DagsterInstance) -> dg.DagsterInstance:
    """An instance without runs, whose pools have one slot."""
    server.wipe()
    for pool in (POOL, "cpu"):
        server.event_log_storage.set_concurrency_slots(pool, 1)
    return server


def enqueue(
    instance: dg.DagsterInstance, job: dg.JobDefinition, status: str = "QUEUED"
) -> dg.DagsterRun:
    return instance.create_run_for_job(
        job, status=dg.DagsterRunStatus[status], remote_job_origin=job_origin(job.name)
    )


def take_the_slot(instance: dg.DagsterInstance, run_id: str) -> bool:
    claim = instance.event_log_storage.claim_concurrency_slot(POOL, run_id, "step")
    return bool(claim.is_claimed)


def test_nobody_waits_for_a_pool_with_a_free_slot(instance: dg.DagsterInstance) -> None:
    enqueue(instance, render_job)
    assert num_runs_waiting_for_pool(instance, POOL) == 0


def test_queued_runs_wait_for_a_pool_whose_slots_are_taken(instance: dg.DagsterInstance) -> None:
    assert take_the_slot(instance, "holder")
    assert num_runs_waiting_for_pool(instance, POOL) == 0
    for expected in (1, 2):
        enqueue(instance, render_job)
        assert num_runs_waiting_for_pool(instance, POOL) == expected


@pytest.mark.parametrize(
    ("job", "status"),
    [
        pytest.param(count_job, "QUEUED", id="it needs another pool"),
        pytest.param(look_then_train_job, "QUEUED", id="it begins with something else"),
        pytest.param(render_job, "STARTED", id="it runs"),
        pytest.param(render_job, "CANCELED", id="it was taken from the queue"),
    ],
)
def test_a_run_that_does_not_wait_is_not_counted(
    instance: dg.DagsterInstance, job: dg.JobDefinition, status: str
) -> None:
    take_the_slot(instance, "holder")
    enqueue(instance, job, status)
    assert num_runs_waiting_for_pool(instance, POOL) == 0


def test_a_run_whose_next_step_waits_is_counted_once(instance: dg.DagsterInstance) -> None:
    take_the_slot(instance, "holder")
    run_id = str(uuid4())
    assert not take_the_slot(instance, run_id)
    assert not instance.event_log_storage.claim_concurrency_slot(POOL, run_id, "2").is_claimed
    assert num_runs_waiting_for_pool(instance, POOL) == 1


def test_counting_goes_over_pages_and_stops_where_it_is_told(instance: dg.DagsterInstance) -> None:
    take_the_slot(instance, "holder")
    for _ in range(110):
        enqueue(instance, count_job)
    for _ in range(3):
        enqueue(instance, render_job)
    assert num_runs_waiting_for_pool(instance, POOL) == 3
    assert num_runs_waiting_for_pool(instance, POOL, at_most=2) == 2

"""Runs that need not wait are launched when they are submitted, by all limits of the queue."""

from collections.abc import Iterator
from unittest.mock import Mock
from uuid import uuid4

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped] # its stubs are not in the lock file

# What a run needs of pools has no public class.
from dagster._core.launcher import LaunchRunContext
from dagster._core.storage.dagster_run import RunOpConcurrency

from influencerai_dagster.core.dagster_names import IMAGE_POOL
from influencerai_dagster.errors import TransientError
from influencerai_dagster.orchestration.run_launcher.launcher import PreloadedRunLauncher
from influencerai_dagster_tests.testing.dagster_server import job_origin
from influencerai_dagster_tests.testing.paths import PROJECT_DIR

DAGSTER_YAML = PROJECT_DIR / "dagster.yaml"
BUILD, TRAIN, RENDER = "build_dataset_job", "train_lora_job", "generate_images_job"
STAGES = {BUILD: "datasets", TRAIN: "loras", RENDER: "images"}
STARTING, QUEUED = dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.QUEUED
NUM_PLACES = 5


class NotedLauncher(PreloadedRunLauncher):
    """Notes what it launches and starts no process."""

    launched: list[str] = []  # noqa: RUF012 - Dagster makes the object
    problem: Exception | None = None

    def launch_run(self, context: LaunchRunContext) -> None:
        if self.problem is not None:
            raise self.problem
        self.launched.append(context.dagster_run.run_id)


@pytest.fixture(scope="module")
def shared_instance() -> Iterator[dg.DagsterInstance]:
    config = yaml.safe_load(DAGSTER_YAML.read_text())
    used = {name: config[name] for name in ("run_coordinator", "concurrency")}
    used["run_launcher"] = {"module": __name__, "class": NotedLauncher.__name__}
    with dg.instance_for_test(overrides=used) as instance:
        yield instance


@pytest.fixture
def instance(shared_instance: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    shared_instance.wipe()
    NotedLauncher.launched.clear()
    yield shared_instance
    NotedLauncher.problem = None


def submit(instance: dg.DagsterInstance, job: str = RENDER, pool: str = "") -> dg.DagsterRun:
    needs = RunOpConcurrency(
        root_key_counts={pool: 1}, has_unconstrained_root_nodes=False, all_pools={pool}
    )
    run = instance.add_run(
        dg.DagsterRun(
            job_name=job,
            run_id=str(uuid4()),
            tags={"stage": STAGES[job], "dagster/partition": "demo/2026-11-23"},
            remote_job_origin=job_origin(job),
            run_op_concurrency=needs if pool else None,
        )
    )
    return instance.run_coordinator.submit_run(dg.SubmitRunContext(run, Mock()))


def queue_one(instance: dg.DagsterInstance, job: str) -> dg.DagsterRun:
    """Submit a run that goes into the queue."""
    NotedLauncher.problem = TransientError("the fork server does not answer")
    run = submit(instance, job)
    NotedLauncher.problem = None
    assert run.status is QUEUED
    return run


@pytest.mark.parametrize("job", [RENDER, TRAIN])
def test_a_run_that_need_not_wait_is_launched(instance: dg.DagsterInstance, job: str) -> None:
    run = submit(instance, job)
    assert (run.status, NotedLauncher.launched) == (STARTING, [run.run_id])
    assert run.tags["dagster/priority"], "it has the tags of the queue, for its retries"


def test_a_launch_that_fails_puts_the_run_into_the_queue(instance: dg.DagsterInstance) -> None:
    run = queue_one(instance, RENDER)
    (event,) = [
        item.message for item in instance.all_logs(run.run_id) if "into the queue" in item.message
    ]
    assert event == "The run goes into the queue: the fork server does not answer"


def test_half_of_the_places_are_left_to_the_queue(instance: dg.DagsterInstance) -> None:
    statuses = [submit(instance).status for _ in range(NUM_PLACES + 1)]
    assert statuses == [*[STARTING] * NUM_PLACES, QUEUED]


def test_a_stage_that_has_a_limit_of_its_own_is_queued(instance: dg.DagsterInstance) -> None:
    assert submit(instance, BUILD).status is QUEUED


@pytest.mark.parametrize(
    ("before", "job", "status"),
    [
        pytest.param(RENDER, RENDER, QUEUED, id="a render behind a render"),
        pytest.param(TRAIN, RENDER, STARTING, id="a render before a training"),
        pytest.param(BUILD, TRAIN, QUEUED, id="a training behind any run"),
    ],
)
def test_a_queued_run_that_comes_first_is_not_overtaken(
    instance: dg.DagsterInstance, before: str, job: str, status: dg.DagsterRunStatus
) -> None:
    queue_one(instance, before)
    assert submit(instance, job).status is status


def test_a_run_whose_pool_is_full_is_queued(instance: dg.DagsterInstance) -> None:
    instance.event_log_storage.set_concurrency_slots(IMAGE_POOL, 2)
    statuses = [submit(instance, pool=IMAGE_POOL).status for _ in range(3)]
    assert statuses == [STARTING, STARTING, QUEUED]
    assert submit(instance, pool="another pool").status is QUEUED, "behind the render before"


def test_a_pool_without_a_limit_has_one_slot(instance: dg.DagsterInstance) -> None:
    assert [submit(instance, TRAIN, "odd").status for _ in range(2)] == [STARTING, QUEUED]

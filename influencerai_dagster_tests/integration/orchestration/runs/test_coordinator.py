"""The order of Dagster's run queue, as its daemon takes runs from an instance of dagster.yaml."""

from collections import Counter
from collections.abc import Iterator, Sequence
from unittest.mock import Mock

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped] # its stubs are not in the lock file

# The daemon that takes runs from the queue has no public way to be asked for its next ones.
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from influencerai_dagster.orchestration.jobs import JOBS
from influencerai_dagster.orchestration.runs.coordinator import BAND_WIDTH, BANDS, priority_of
from influencerai_dagster_tests.testing.dagster_server import job_origin
from influencerai_dagster_tests.testing.paths import PROJECT_DIR

DAGSTER_YAML = PROJECT_DIR / "dagster.yaml"
JOB_TAGS = {job.name: dict(job.tags or {}) for job in JOBS.values()}


class Queue:
    """The run queue of an instance, and what its daemon does with it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def submit(
        self,
        job: str,
        partition: str | None = None,
        *,
        tags: dict[str, str] | None = None,
        assets: Sequence[str] = (),
    ) -> dg.DagsterRun:
        """Submit a run with the tags of its job, as every caller of Dagster does."""
        given = {"dagster/partition": partition} if partition else {}
        given |= {name: str(value) for name, value in JOB_TAGS.get(job, {}).items()}
        run = self.instance.add_run(
            dg.DagsterRun(
                job_name=job,
                tags=given | (tags or {}),
                asset_selection=frozenset(map(dg.AssetKey, assets)) or None,
                remote_job_origin=job_origin(job),
            )
        )
        context = dg.SubmitRunContext(run, Mock())
        return self.instance.run_coordinator.submit_run(context)

    def next_runs(self) -> list[dg.DagsterRun]:
        """Return the runs that may start now, in their order."""
        daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        concurrency = self.instance.get_concurrency_config()
        return daemon._get_runs_to_dequeue(self.instance, concurrency, None)  # noqa: SLF001

    def start(self, run: dg.DagsterRun) -> None:
        event = DagsterEvent(DagsterEventType.PIPELINE_STARTING.value, run.job_name)
        self.instance.report_dagster_event(event, run_id=run.run_id)

    def run_one(self) -> str:
        """Let the run that comes first start and end; return its partition."""
        first = self.next_runs()[0]
        self.start(first)
        self.instance.report_run_failed(first)
        return first.tags["dagster/partition"]


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    config = yaml.safe_load(DAGSTER_YAML.read_text())
    used = {name: config[name] for name in ("run_coordinator", "concurrency")}
    with dg.instance_for_test(overrides=used) as instance:
        yield instance


@pytest.fixture
def queue(instance: dg.DagsterInstance) -> Queue:
    instance.wipe()
    return Queue(instance)


BUILD, TRAIN, RENDER = "build_dataset_job", "train_lora_job", "generate_images_job"


def test_a_render_starts_before_backups_trainings_and_datasets_that_were_there_first(
    queue: Queue,
) -> None:
    for job, partition in (
        (BUILD, "acme/nova"),
        (TRAIN, "acme/nova"),
        ("backup_database_job", None),
        ("generate_videos_job", "acme/2026-11-23"),
        (RENDER, "demo/2026-11-23"),
    ):
        queue.submit(job, partition)
    assert [run.job_name for run in queue.next_runs()] == [
        "generate_videos_job",
        RENDER,
        "backup_database_job",
        TRAIN,
        BUILD,
    ]


def test_a_mass_upload_leaves_places_for_everything_else(queue: Queue) -> None:
    for number in range(40):
        queue.submit(BUILD, f"flood/d{number}")
    assert len(queue.next_runs()) == 3


def test_one_tenants_mass_upload_delays_another_by_what_is_in_progress(queue: Queue) -> None:
    for number in range(30):
        queue.submit(BUILD, f"flood/d{number}")
    for run in queue.next_runs():
        queue.start(run)
    queue.submit(BUILD, "acme/nova")
    for run in queue.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
        queue.instance.report_run_failed(run)
    assert "acme/nova" in [run.tags["dagster/partition"] for run in queue.next_runs()]


@pytest.mark.parametrize("job", [BUILD, TRAIN])
def test_tenants_with_many_runs_alternate(queue: Queue, job: str) -> None:
    for number in range(12):
        queue.submit(job, f"flood/d{number}")
    queue.start(queue.next_runs()[0])
    for number in range(4):
        queue.submit(job, f"acme/d{number}")
    order = [queue.run_one() for _ in range(8)]
    assert Counter(partition.partition("/")[0] for partition in order) == {"flood": 4, "acme": 4}
    assert [name for name in order if name.startswith("acme")] == [f"acme/d{n}" for n in range(4)]


def test_a_tenant_that_comes_back_does_not_catch_up_on_the_past(queue: Queue) -> None:
    for number in range(9):
        queue.submit(TRAIN, f"flood/d{number}")
        queue.start(queue.next_runs()[0])
    for number in range(4):
        queue.submit(TRAIN, f"flood/e{number}")
        queue.submit(TRAIN, f"acme/d{number}")
    order = [queue.run_one().partition("/")[0] for _ in range(4)]
    assert sorted(order) == ["acme", "acme", "flood", "flood"]


@pytest.mark.parametrize(
    ("asset", "stage"),
    [("dataset", "datasets"), ("lora_weights", "loras"), ("generated_videos", "videos")],
)
def test_a_run_of_assets_that_a_person_launched_has_stage_tenant_and_place(
    queue: Queue, asset: str, stage: str
) -> None:
    run = queue.submit("__ASSET_JOB", "acme/nova", assets=[asset])
    assert run.tags["stage"] == stage
    assert run.tags["tenant"] == "acme"
    assert int(run.tags["dagster/priority"]) == priority_of(stage, 0)


def test_a_run_that_has_a_priority_keeps_it_and_moves_no_clock(queue: Queue) -> None:
    given = queue.submit(BUILD, "acme/nova", tags={"dagster/priority": "7"})
    assert given.tags["dagster/priority"] == "7"
    later = queue.submit(BUILD, "acme/anna")
    assert int(later.tags["dagster/priority"]) == priority_of("datasets", 0)


@pytest.mark.parametrize("partition", ["a/../b", "", "acme", "ACME/nova", "a/b/c"])
def test_a_partition_of_another_form_is_queued_without_a_tenant(
    queue: Queue, partition: str
) -> None:
    assert "tenant" not in queue.submit(BUILD, partition).tags


@pytest.mark.parametrize("behind", [0, 0.4, 12.6, 1e12, -5, BAND_WIDTH])
def test_no_distance_leaves_the_band_of_its_stage(behind: float) -> None:
    for stage, band in BANDS.items():
        assert band * BAND_WIDTH < priority_of(stage, behind) <= (band + 1) * BAND_WIDTH


def test_every_job_has_a_stage_with_a_band() -> None:
    assert {tags["stage"] for tags in JOB_TAGS.values()} <= set(BANDS)

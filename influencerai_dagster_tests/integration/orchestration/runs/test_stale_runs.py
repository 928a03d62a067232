"""What becomes of stalled runs: a real job queue, and an instance with pools."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from influencerai_dagster.core.run_health import DEFAULT_LIMITS, HeartbeatLimits
from influencerai_dagster.db import run_heartbeats
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.run_heartbeats import Activity
from influencerai_dagster.errors import TransientError
from influencerai_dagster.orchestration.resources.catalog import Catalog
from influencerai_dagster.orchestration.runs.stale_runs_sensor import stale_runs_sensor
from influencerai_dagster_tests.testing.catalog_rows import beat, claim_one, job_now, submit_one
from influencerai_dagster_tests.testing.dagster_server import (
    job_origin,
    location_origin,
    queued_instance,
)
from influencerai_dagster_tests.testing.ports import free_port

POOL = "image_generation"


@pytest.fixture(scope="module")
def server() -> Iterator[dg.DagsterInstance]:
    with queued_instance() as instance:
        yield instance


class Watch:
    """The sensor, and runs that hold a pool slot and a lease."""

    def __init__(self, instance: dg.DagsterInstance, catalog: Catalog) -> None:
        self.instance, self.catalog, self.engine = instance, catalog, catalog.engine
        self._limits = DEFAULT_LIMITS
        self.storage = instance.event_log_storage

    def run(self, status: str = "STARTED", *, location: str = "influencerai") -> str:
        """Add a run that has its pool slot."""
        run = dg.DagsterRun(
            job_name="generate_images_job",
            status=dg.DagsterRunStatus[status],
            remote_job_origin=job_origin("generate_images_job", location),
        )
        self.instance.add_run(run)
        assert self.storage.claim_concurrency_slot(POOL, run.run_id, "step").is_claimed
        return run.run_id

    def start(self, run_id: str) -> None:
        """Report the start of a run, which gives it a start time."""
        event = dg.DagsterEvent("PIPELINE_START", "generate_images_job")
        self.instance.report_dagster_event(event, run_id)

    def beat(self, run_id: str) -> None:
        with transaction(self.engine) as session:
            run_heartbeats.first_beat(session, run_id, Activity("rendering"), host="box")

    def let_time_pass(self) -> None:
        """All heartbeats are too old now, and all runs had time for a first one."""
        self._limits = HeartbeatLimits(stale_seconds=0.0, first_seconds=0.0)

    def tick(self, catalog: Catalog | None = None) -> str:
        resources: dict[str, Any] = {"catalog": catalog or self.catalog}
        with dg.SensorEvaluationContext(
            instance_ref=None,
            instance=self.instance,
            resources=dg.build_sensor_context(resources=resources).resource_defs,
            code_location_origin=location_origin(),
        ) as context:
            result = stale_runs_sensor(self._limits)(context)
        assert isinstance(result, dg.SkipReason)
        return str(result.skip_message)

    def status(self, run_id: str) -> str:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status.value

    def slots_taken(self) -> int:
        return len(self.storage.get_concurrency_info(POOL).claimed_slots)

    def heartbeats(self) -> list[str]:
        with transaction(self.engine) as session:
            return [beat.run_id for beat in run_heartbeats.list_heartbeats(session)]


@pytest.fixture
def watch(server: dg.DagsterInstance, catalog: Catalog) -> Watch:
    server.wipe()
    server.event_log_storage.set_concurrency_slots(POOL, 3)
    return Watch(server, catalog)


def test_a_stalled_run_fails_and_its_job_lease_and_slot_are_freed(watch: Watch) -> None:
    run_id = watch.run()
    watch.beat(run_id)
    submit_one(watch.engine)
    job = claim_one(watch.engine, owner=run_id)
    watch.let_time_pass()

    assert run_id in watch.tick()

    assert watch.status(run_id) == "FAILURE"
    assert watch.slots_taken() == 0
    assert watch.heartbeats() == []
    assert job_now(watch.engine, job).status == "pending"


def test_the_failure_says_what_happened(watch: Watch) -> None:
    run_id = watch.run()
    watch.beat(run_id)
    watch.let_time_pass()
    watch.tick()
    texts = [
        record.event_log_entry.dagster_event.message
        for record in watch.instance.get_records_for_run(run_id).records
        if record.event_log_entry.dagster_event
    ]
    assert any("Run worker lost: no heartbeat from box for" in str(t) for t in texts)


def test_a_run_that_beats_is_let_be(watch: Watch) -> None:
    run_id = watch.run()
    watch.beat(run_id)
    assert watch.tick() == "1 runs should have a process, none has stalled"
    assert watch.status(run_id) == "STARTED"
    assert (watch.slots_taken(), watch.heartbeats()) == (1, [run_id])


def test_a_cancelled_run_whose_process_is_gone_is_cancelled(watch: Watch) -> None:
    run_id = watch.run("CANCELING")
    watch.beat(run_id)
    watch.let_time_pass()
    watch.tick()
    assert watch.status(run_id) == "CANCELED"
    assert watch.slots_taken() == 0


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "QUEUED"])
def test_a_run_that_has_no_process_yet_is_let_be(watch: Watch, status: str) -> None:
    run_id = watch.run(status)
    watch.let_time_pass()
    watch.tick()
    assert watch.status(run_id) == status


def test_a_started_run_that_never_beats_fails_after_a_while(watch: Watch) -> None:
    run_id = watch.run("STARTING")
    watch.start(run_id)
    watch.tick()
    assert watch.status(run_id) == "STARTED"
    watch.let_time_pass()
    watch.tick()
    assert watch.status(run_id) == "FAILURE"
    assert watch.slots_taken() == 0


def test_a_run_of_another_code_location_has_no_heartbeat_and_is_let_be(watch: Watch) -> None:
    run_id = watch.run("STARTING", location="somebody else's")
    watch.start(run_id)
    watch.let_time_pass()
    watch.tick()
    assert watch.status(run_id) == "STARTED"


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "CANCELED"])
def test_what_a_run_that_is_over_left_behind_is_removed(watch: Watch, status: str) -> None:
    run_id = watch.run(status)
    watch.beat(run_id)
    submit_one(watch.engine)
    job = claim_one(watch.engine, owner=run_id)

    watch.tick()

    assert (watch.heartbeats(), watch.slots_taken()) == ([], 0)
    assert job_now(watch.engine, job).status == "pending"
    assert watch.status(run_id) == status


def test_the_heartbeat_of_a_run_that_dagster_does_not_know_is_removed(watch: Watch) -> None:
    watch.beat("deleted")
    watch.tick()
    assert watch.heartbeats() == []


def test_a_tick_that_died_after_its_transaction_is_finished_by_the_next(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = watch.run("STARTING")
    watch.start(run_id)
    watch.beat(run_id)
    watch.let_time_pass()
    with monkeypatch.context() as patch:
        patch.setattr(dg.DagsterInstance, "report_run_failed", _dies)
        with pytest.raises(SystemError):
            watch.tick()
    assert (watch.status(run_id), watch.heartbeats()) == ("STARTED", [])
    watch.tick()
    assert (watch.status(run_id), watch.slots_taken()) == ("FAILURE", 0)


def _dies(*_: object, **__: object) -> None:
    raise SystemError


def test_while_postgresql_is_away_nothing_is_decided(watch: Watch) -> None:
    run_id = watch.run()
    watch.beat(run_id)
    watch.let_time_pass()
    away = Catalog(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    with pytest.raises(TransientError):
        watch.tick(away)
    assert watch.status(run_id) == "STARTED"


def test_a_run_with_a_fresh_heartbeat_keeps_its_jobs(watch: Watch) -> None:
    run_id = watch.run()
    watch.beat(run_id)
    submit_one(watch.engine)
    job = claim_one(watch.engine, owner=run_id)
    watch.tick()
    with transaction(watch.engine) as session:
        assert beat(session, job) is None

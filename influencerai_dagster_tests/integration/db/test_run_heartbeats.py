"""Heartbeats of runs in a real PostgreSQL, whose clock counts."""

from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.core.run_health import DEFAULT_LIMITS, Heartbeat
from influencerai_dagster.db import run_heartbeats
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.run_heartbeats import Activity
from influencerai_dagster.db.sweeps import Sweep
from influencerai_dagster_tests.testing.catalog_rows import DAY, let_time_pass

RENDERING = Activity("generate_images_job")


@pytest.fixture
def run_id(engine: Engine) -> str:
    """A run that has just beaten."""
    run_id = str(uuid4())
    start(engine, run_id)
    return run_id


def start(engine: Engine, run_id: str, activity: str = "generate_images_job") -> None:
    with transaction(engine) as session:
        run_heartbeats.first_beat(session, run_id, Activity(activity), host="process 7 on box")


def beat(engine: Engine, run_id: str, activity: Activity = RENDERING) -> bool:
    with transaction(engine) as session:
        return run_heartbeats.beat(session, run_id, activity)


def heartbeats(engine: Engine) -> list[Heartbeat]:
    with transaction(engine) as session:
        return run_heartbeats.list_heartbeats(session)


def make_stale(engine: Engine, run_id: str, seconds: float) -> None:
    statement = text(
        "UPDATE run_heartbeats SET beat_at = now() - make_interval(secs => :seconds)"
        " WHERE run_id = :run_id"
    )
    with transaction(engine) as session:
        session.execute(statement, {"seconds": seconds, "run_id": run_id})


def add_worker(engine: Engine, run_id: str) -> None:
    statement = text(
        "INSERT INTO workers (owner, tenant_id, kind, day) VALUES (:run_id, 'demo', 'image', :day)"
    )
    with transaction(engine) as session:
        session.execute(statement, {"run_id": run_id, "day": DAY})


def num_workers(engine: Engine) -> int:
    with transaction(engine) as session:
        return int(session.execute(text("SELECT count(*) FROM workers")).scalar_one())


def end_stalled(
    engine: Engine, run_id: str, stale_seconds: float = DEFAULT_LIMITS.stale_seconds
) -> bool:
    with transaction(engine) as session:
        return run_heartbeats.end_stalled(session, run_id, stale_seconds=stale_seconds)


def test_a_beat_tells_what_the_run_does_and_that_it_is_alive(engine: Engine, run_id: str) -> None:
    assert beat(engine, run_id, Activity("train_lora demo/bella"))
    (found,) = heartbeats(engine)
    assert (found.run_id, found.activity) == (run_id, "train_lora demo/bella")
    assert found.host == "process 7 on box"
    assert found.age_seconds < DEFAULT_LIMITS.stale_seconds


def test_the_first_beat_may_be_repeated(engine: Engine, run_id: str) -> None:
    start(engine, run_id, "render_images")
    assert [item.activity for item in heartbeats(engine)] == ["render_images"]


def test_a_beat_of_a_run_that_was_ended_says_so_and_does_not_bring_it_back(
    engine: Engine, run_id: str
) -> None:
    with transaction(engine) as session:
        run_heartbeats.end(session, run_id)
    assert not beat(engine, run_id)
    assert heartbeats(engine) == []


def test_a_stalled_run_is_ended_with_its_worker(engine: Engine, run_id: str) -> None:
    add_worker(engine, run_id)
    assert end_stalled(engine, run_id, stale_seconds=0.0)
    assert (heartbeats(engine), num_workers(engine)) == ([], 0)


def test_a_run_that_was_heard_of_again_is_not_ended(engine: Engine, run_id: str) -> None:
    add_worker(engine, run_id)
    assert not end_stalled(engine, run_id)
    assert (len(heartbeats(engine)), num_workers(engine)) == (1, 1)


def test_a_run_that_never_had_a_heartbeat_can_be_ended(engine: Engine) -> None:
    assert end_stalled(engine, str(uuid4()))


def sweep(engine: Engine) -> Sweep:
    with transaction(engine) as session:
        return run_heartbeats.sweep(session)


def test_an_outage_makes_no_run_stalled(engine: Engine, run_id: str) -> None:
    sweep(engine)
    let_time_pass(engine, 3600)
    begun = sweep(engine)
    (found,) = heartbeats(engine)
    assert found.run_id == run_id
    assert found.age_seconds < DEFAULT_LIMITS.stale_seconds
    assert begun.since == begun.now, "nor could a run that started before it beat"


def test_a_run_that_stays_stalled_after_an_outage_is_noticed(engine: Engine, run_id: str) -> None:
    sweep(engine)
    let_time_pass(engine, 3600)
    for _ in range(3):
        sweep(engine)
        let_time_pass(engine, 5)
    sweep(engine)
    assert end_stalled(engine, run_id)


def test_between_sweeps_without_a_pause_every_second_counts(engine: Engine, run_id: str) -> None:
    since = sweep(engine).since
    let_time_pass(engine, 9)
    assert sweep(engine).since == since
    let_time_pass(engine, 9)
    sweep(engine)
    assert end_stalled(engine, run_id)


def test_a_heartbeat_is_as_old_as_its_last_beat(engine: Engine, run_id: str) -> None:
    make_stale(engine, run_id, 0.5)
    (found,) = heartbeats(engine)
    assert 0.5 <= found.age_seconds < 5


@pytest.mark.parametrize(
    ("activity", "owner"),
    [
        (Activity.of_training("demo/bella", owns_gpu=True), "train_lora demo/bella"),
        (Activity.of_training("demo/bella", owns_gpu=False), None),
        (Activity("train_lora demo/bella"), None),
        (Activity("generate_images_job demo/2026-11-23"), None),
    ],
    ids=["on the shared GPU", "on its own GPU", "only by its text", "a render"],
)
def test_a_training_that_says_so_owns_the_shared_gpu(
    engine: Engine, run_id: str, activity: Activity, owner: str | None
) -> None:
    assert beat(engine, run_id, activity)
    with transaction(engine) as session:
        assert run_heartbeats.gpu_owner(session) == owner


def test_the_shared_gpu_is_free_again_after_the_training(engine: Engine, run_id: str) -> None:
    assert beat(engine, run_id, Activity.of_training("demo/bella", owns_gpu=True))
    assert beat(engine, run_id, Activity("train_lora_job demo/bella"))
    with transaction(engine) as session:
        assert run_heartbeats.gpu_owner(session) is None

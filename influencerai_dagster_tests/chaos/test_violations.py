"""An inspection finds nothing after a calm run, and all that is then broken by hand."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster_tests.chaos.runner import Outcome, running_scenario
from influencerai_dagster_tests.chaos.scenario import Scenario, draw_scenario
from influencerai_dagster_tests.chaos.servers import BUCKET
from influencerai_dagster_tests.chaos.violations import inspect
from influencerai_dagster_tests.testing.comfyui_prompts import colour
from influencerai_dagster_tests.testing.waiting import wait_until

NUM_JOBS = 12


def calm(scenario: Scenario) -> Scenario:
    """Return a scenario in which nothing breaks and every submission can be made."""
    waves = tuple(
        replace(
            wave,
            submissions=tuple(replace(submission, is_bad=False) for submission in wave.submissions),
        )
        for wave in scenario.waves
    )
    return replace(scenario, waves=waves, events=())


@pytest.fixture(scope="module")
def outcome() -> Iterator[Outcome]:
    with running_scenario(calm(draw_scenario(1, NUM_JOBS))) as made:
        assert inspect(made).violations == ()
        yield made


@pytest.fixture
def engine(outcome: Outcome) -> Iterator[Engine]:
    made = create_catalog_engine(outcome.servers.database_url)
    yield made
    made.dispose()


def write(engine: Engine, statement: str, **values: Any) -> None:
    with transaction(engine) as session:
        session.execute(text(statement), values)


def a_job(engine: Engine) -> Any:
    """Return a completed job whose output is still as it was."""
    statement = (
        "SELECT job_id, object_key, manifest_key FROM media_assets"
        " JOIN jobs ON jobs.id = job_id WHERE jobs.status = 'completed' LIMIT 1"
    )
    with transaction(engine) as session:
        return session.execute(text(statement)).one()


def violations_of(outcome: Outcome, job_id: object) -> list[str]:
    return [text for text in inspect(outcome).violations if str(job_id) in text]


def file_of(outcome: Outcome, key: str) -> Path:
    return outcome.servers.folder / "buckets" / BUCKET / key


@pytest.mark.parametrize("name", ["object_key", "manifest_key"])
def test_a_missing_object_is_found(outcome: Outcome, engine: Engine, name: str) -> None:
    job = a_job(engine)
    path = file_of(outcome, getattr(job, name))
    content = path.read_bytes()
    path.unlink()
    wait_until(
        lambda: bool(violations_of(outcome, job.job_id)), "S3 noticed it", timeout_seconds=10
    )
    (found,) = violations_of(outcome, job.job_id)
    path.write_bytes(content)
    wait_until(
        lambda: not violations_of(outcome, job.job_id), "S3 noticed that too", timeout_seconds=10
    )
    assert "cannot be read" in found


def test_a_changed_object_is_found(outcome: Outcome, engine: Engine) -> None:
    job = a_job(engine)
    path = file_of(outcome, job.object_key)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"!")
    (found,) = violations_of(outcome, job.job_id)
    path.write_bytes(content)
    assert "recorded are" in found


def test_a_completed_job_without_a_media_asset_is_found(outcome: Outcome, engine: Engine) -> None:
    job = a_job(engine)
    write(engine, "DELETE FROM media_assets WHERE job_id = :id", id=job.job_id)
    (found,) = violations_of(outcome, job.job_id)
    assert "0 media assets" in found


def test_a_job_that_is_held_is_found(outcome: Outcome, engine: Engine) -> None:
    job = a_job(engine)
    statement = (
        "UPDATE jobs SET status = 'running', finished_at = NULL, lease_owner = 'worker-9',"
        " lease_expires_at = now() WHERE id = :id"
    )
    write(engine, statement, id=job.job_id)
    found = " ".join(violations_of(outcome, job.job_id))
    assert "has not ended" in found
    assert "still held by worker-9" in found
    assert "1 media assets" in found


def test_a_job_that_failed_for_no_reason_is_found(outcome: Outcome, engine: Engine) -> None:
    job = a_job(engine)
    statement = (
        "UPDATE jobs SET status = 'failed', error = 'no idea', error_class = 'TransientError'"
        " WHERE id = :id"
    )
    write(engine, statement, id=job.job_id)
    found = " ".join(violations_of(outcome, job.job_id))
    assert "a reason that is not true" in found
    assert "failed in passing after 1 attempts" in found


def test_a_job_that_nobody_submitted_is_found(outcome: Outcome, engine: Engine) -> None:
    statement = (
        "INSERT INTO jobs (id, tenant_id, day, kind, status, priority, payload, max_attempts,"
        " idempotency_key, finished_at) SELECT :id, tenant_id, day, kind, 'cancelled', priority,"
        " payload, max_attempts, 'another key', now() FROM jobs LIMIT 1"
    )
    job_id = uuid4()
    write(engine, statement, id=job_id)
    assert "nobody's submission" in " ".join(violations_of(outcome, job_id))


def test_the_row_of_a_dead_worker_is_found(outcome: Outcome, engine: Engine) -> None:
    statement = (
        "INSERT INTO workers (owner, tenant_id, kind, day, polled_at)"
        " SELECT 'worker-7', tenant_id, kind, day, now() - interval '1 h' FROM jobs LIMIT 1"
    )
    write(engine, statement)
    assert violations_of(outcome, "worker-7")


def test_a_prompt_that_is_left_on_a_server_is_found(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("influencerai_dagster_tests.chaos.violations._QUEUE_SECONDS", 0.0)
    server = outcome.servers.comfyui[0]
    server.faults(hang_worker=True)
    for prompt_id in ("first", "second"):  # the first may be the last that it takes
        server.http.post("/prompt", json={"prompt": colour(1), "prompt_id": prompt_id})
    found = violations_of(outcome, "second")
    server.faults(hang_worker=False)
    assert found

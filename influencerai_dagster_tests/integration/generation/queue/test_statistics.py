"""What people who watch the job queue are told."""

from typing import Any

import pytest
from sqlalchemy import Engine, TextClause, text

from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.loras import record_lora
from influencerai_dagster.db.models.scheduling import GpuShareRow
from influencerai_dagster.db.running_trainings import begin_training, end_training
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import statistics
from influencerai_dagster.generation.queue.statistics import TenantStatistics
from influencerai_dagster_tests.testing.catalog_rows import (
    claim_all,
    claim_one,
    complete_job,
    image_request,
    lora_manifest,
    submit_one,
    video_request,
)


def of(engine: Engine, tenant: str = "demo") -> TenantStatistics:
    with transaction(engine) as session:
        (found,) = statistics.tenant_statistics(session, tenant)
    return found


def set_times(engine: Engine, **ages: str) -> None:
    """Let the named times of all jobs be so long ago."""
    with transaction(engine) as session:
        for column, age in ages.items():
            values: dict[str, Any] = {"age": age}
            statement = f"UPDATE jobs SET {column} = now() - CAST(:age AS interval)"  # noqa: S608
            session.execute(text(statement), values)


def fail_one(engine: Engine, error: PermanentError | TransientError, tenant: str = "demo") -> None:
    submit_one(engine, tenant=tenant)
    job = claim_one(engine, tenant=tenant)
    with transaction(engine) as session:
        job_queue.fail(session, job.id, job.lease_token, error)


def test_a_tenant_without_jobs_is_told_only_when_it_is_asked_for(engine: Engine) -> None:
    with transaction(engine) as session:
        assert statistics.tenant_statistics(session) == []
    assert of(engine) == TenantStatistics(
        "demo", 1.0, 0, 0, 0, 0, 0, 0, 0, 0.0, None, None, 0.0, 0.0
    )


def test_pending_jobs_are_told_by_what_they_wait_for(engine: Engine) -> None:
    with transaction(engine) as session:
        record_lora(session, lora_manifest("other"))
        record_lora(session, lora_manifest("demo", "lora2", dataset="anna"))
        record_dataset_of_anna = text(
            "INSERT INTO datasets (tenant_id, id, version, manifest_key, num_images, num_rejected)"
            " VALUES ('demo', 'anna', 'v', 'datasets/demo/anna/manifest.json', 1, 0)"
        )
        session.execute(record_dataset_of_anna)
    fail_one(engine, TransientError("later"))
    image = submit_one(engine)
    submit_one(engine, image_request(loras=["anna"]))
    submit_one(engine, image_request(loras=["bella"]))
    submit_one(engine, image_request(loras=["anna", "bella"]))
    submit_one(engine, video_request(image.id))
    submit_one(engine, image_request(loras=["bella"]), tenant="other")

    found = of(engine)

    assert found.pending == 6
    assert found.waiting_for_lora == 2
    assert found.waiting_for_image == 1
    assert found.in_backoff == 1
    other = of(engine, "other")
    assert (other.pending, other.waiting_for_lora) == (1, 0)


def test_a_video_whose_image_is_made_waits_for_nothing(engine: Engine) -> None:
    image = submit_one(engine)
    complete_job(engine, claim_one(engine))
    submit_one(engine, video_request(image.id))
    assert (of(engine).pending, of(engine).waiting_for_image) == (1, 0)


def test_running_done_and_failed_are_counted_by_tenant(engine: Engine) -> None:
    for tenant in ("demo", "demo", "other"):
        submit_one(engine, tenant=tenant)
        complete_job(engine, claim_one(engine))
    fail_one(engine, PermanentError("no"))
    submit_one(engine)
    claim_one(engine)
    with transaction(engine) as session:
        found = {item.tenant: item for item in statistics.tenant_statistics(session)}
    demo, other = found["demo"], found["other"]
    assert (demo.running, demo.done, demo.failed, demo.per_minute) == (1, 2, 1, 0.4)
    assert (other.running, other.done, other.failed) == (0, 1, 0)


def test_what_ended_before_today_is_not_counted(engine: Engine) -> None:
    submit_one(engine)
    complete_job(engine, claim_one(engine))
    fail_one(engine, PermanentError("no"))
    set_times(engine, finished_at="25 hours")
    assert (of(engine).done, of(engine).failed, of(engine).per_minute) == (0, 0, 0)
    with transaction(engine) as session:
        assert statistics.newest_failures(session, limit=5) == []


def test_the_wait_is_from_submission_to_the_first_claim_within_the_hour(engine: Engine) -> None:
    for _ in range(2):
        submit_one(engine)
    running, done = claim_all(engine)
    complete_job(engine, done)
    set_times(engine, started_at="50 min", created_at="51 min")
    with transaction(engine) as session:
        statement = text("UPDATE jobs SET created_at = started_at - interval '20 s' WHERE id = :id")
        session.execute(statement, {"id": running.id})
    found = of(engine)
    assert found.wait_p50 == pytest.approx(40)
    assert found.wait_p95 == pytest.approx(58)
    set_times(engine, started_at="61 min", created_at="62 min")
    assert of(engine).wait_p50 is None


def test_gpu_seconds_are_shared_among_all_tenants(engine: Engine) -> None:
    with transaction(engine) as session:
        session.add(GpuShareRow(tenant_id="demo", used_seconds=30))
        session.add(GpuShareRow(tenant_id="other", used_seconds=10))
    assert (of(engine).gpu_seconds, of(engine).share) == (30, 0.75)


def test_running_jobs_are_told_oldest_first_with_server_and_progress(engine: Engine) -> None:
    for tenant in ("demo", "other", "demo"):
        submit_one(engine, tenant=tenant)
        claim_one(engine)
    with transaction(engine) as session:
        session.execute(text("UPDATE jobs SET server = 'http://gpu1:8188', progress = 0.25"))
    with transaction(engine) as session:
        found = statistics.running_jobs(session, limit=2)
        demo = statistics.running_jobs(session, "demo", limit=9)
    assert [job.tenant for job in found] == ["demo", "other"]
    assert (found[0].server, found[0].progress) == ("http://gpu1:8188", 0.25)
    assert found[0].seconds >= found[1].seconds >= 0
    assert {job.tenant for job in demo} == {"demo"}
    assert len(demo) == 2


def test_failures_are_told_newest_first_with_their_reason(engine: Engine) -> None:
    fail_one(engine, PermanentError("first"))
    fail_one(engine, PermanentError("second"), tenant="other")
    fail_one(engine, TransientError("is tried again"))
    with transaction(engine) as session:
        found = statistics.newest_failures(session, limit=5)
        demo = statistics.newest_failures(session, "demo", limit=5)
    assert [job.error for job in found] == ["second", "first"]
    assert [job.error for job in demo] == ["first"]


def test_trainings_are_those_that_have_begun_and_not_ended(engine: Engine) -> None:
    with transaction(engine) as session:
        for run_id, dataset in (("a", "demo/bella"), ("b", "demo/nova"), ("c", "demo/ended")):
            begin_training(session, run_id, dataset, owns_gpu=run_id == "a")
        end_training(session, "c")
        found = statistics.trainings(session)
        session.execute(text("DELETE FROM running_trainings"))
    assert {item.dataset for item in found} == {"demo/bella", "demo/nova"}


_MANY_JOBS = """
INSERT INTO jobs (id, tenant_id, day, kind, priority, payload, max_attempts, attempt, status,
                  created_at, started_at, finished_at, result)
SELECT gen_random_uuid(), 'demo', current_date, 'image', 5,
       '{"kind": "image", "prompt": "bella", "loras": []}', 3, 1, 'completed',
       at - interval '2 s', at - interval '1 s', at, '{"object_key": "images/demo/x/output.png"}'
  FROM (SELECT now() - n * interval '10 min' AS at FROM generate_series(1, 20000) n) times
"""


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        pytest.param(statistics._TENANTS, "ix_jobs_finished", id="tenants"),  # noqa: SLF001
        pytest.param(statistics._RUNNING, "ix_jobs_running", id="running jobs"),  # noqa: SLF001
        pytest.param(statistics._FAILURES, "ix_jobs_failed", id="failures"),  # noqa: SLF001
    ],
)
def test_a_refresh_reads_no_more_than_it_shows(
    engine: Engine, statement: TextClause, index: str
) -> None:
    with transaction(engine) as session:
        session.connection().exec_driver_sql(_MANY_JOBS)
        session.execute(text("ANALYZE jobs"))
        explain = text(f"EXPLAIN {statement.text}")
        plan = "\n".join(session.scalars(explain, {"tenant": None, "limit": 5}))
    assert index in plan
    assert "Seq Scan on jobs" not in plan

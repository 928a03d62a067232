"""Claims and leases."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.loras import record_lora
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import WorkerRegistration
from influencerai_dagster.generation.queue.claims import claim_rows
from influencerai_dagster_tests.testing.catalog_rows import (
    DAY,
    SERVERS,
    backoff_seconds,
    beat,
    claim_all,
    claim_one,
    complete_job,
    end_backoff,
    image_request,
    job_now,
    let_time_pass,
    lora_manifest,
    manifest_key_of,
    output_of,
    run_out_leases,
    submit_one,
    video_request,
)

NEXT_DAY = date(2026, 11, 24)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with transaction(engine) as session:
        yield session


def _expire(engine: Engine) -> int:
    with transaction(engine) as session:
        return job_queue.expire_leases(session)


def _days(engine: Engine, kind: JobKind = JobKind.IMAGE) -> list[str]:
    with transaction(engine) as session:
        return [str(day) for day in job_queue.days_with_claimable_jobs(session, kind)]


def test_a_claimed_job_is_running_under_a_lease(engine: Engine) -> None:
    submit_one(engine)
    with transaction(engine) as session:
        now = session.execute(text("SELECT now()")).scalar_one()
        worker = WorkerRegistration("run-1", JobKind.IMAGE, "demo", DAY)
        (job,) = job_queue.claim_fairly(session, worker, SERVERS, lease_seconds=60, limit=1)
    assert (job.status, job.attempt, job.lease_token) == (JobStatus.RUNNING, 1, 1)
    assert (job.lease_owner, job.dagster_run_id) == ("run-1", "run-1")
    assert job.lease_expires_at == now + timedelta(seconds=60)
    assert job.wait_seconds == (now - job.created_at).total_seconds() > 0


def test_higher_priorities_go_first_and_equals_in_order_of_submission(engine: Engine) -> None:
    priorities = [0, 5, 9, 5, 9]
    with transaction(engine) as session:
        jobs = job_queue.submit(
            session, "demo", DAY, [image_request(priority=priority) for priority in priorities]
        )
    order = [2, 4, 1, 3, 0]
    first = claim_all(engine, limit=2)
    rest = claim_all(engine, limit=9)
    assert [job.id for job in first + rest] == [jobs[index].id for index in order]


def test_a_claim_takes_only_the_kind_tenant_and_day_it_asks_for(engine: Engine) -> None:
    mine = submit_one(engine)
    foreign = submit_one(engine, tenant="other")
    with transaction(engine) as session:
        (tomorrow,) = job_queue.submit(session, "demo", NEXT_DAY, [image_request()])
    assert claim_all(engine, kind=JobKind.VIDEO) == []
    assert [job.id for job in claim_all(engine, tenant="demo", day=NEXT_DAY)] == [tomorrow.id]
    assert [job.id for job in claim_all(engine, tenant="other")] == [foreign.id]
    assert [job.id for job in claim_all(engine)] == [mine.id]


def test_concurrent_claimers_never_get_the_same_job(engine: Engine) -> None:
    with transaction(engine) as session:
        jobs = job_queue.submit(session, "demo", DAY, [image_request() for _ in range(100)])

    def take(number: int) -> list[job_queue.ClaimedJob]:
        taken: list[job_queue.ClaimedJob] = []
        while claimed := claim_all(engine, owner=f"worker {number}", limit=3):
            taken += claimed
        return taken

    with ThreadPoolExecutor(4) as pool:
        claimed = [job.id for taken in pool.map(take, range(4)) for job in taken]
    assert len(claimed) == 100
    assert set(claimed) == {job.id for job in jobs}


def test_a_claim_does_not_wait_for_a_job_that_another_transaction_writes(engine: Engine) -> None:
    first, second = submit_one(engine), submit_one(engine)
    with transaction(engine) as session:
        locked = text("SELECT id FROM jobs WHERE id = :id FOR UPDATE")
        assert session.execute(locked, {"id": first.id}).scalar_one() == first.id
        assert [job.id for job in claim_all(engine)] == [second.id]


def test_a_job_waits_until_its_datasets_have_a_lora(engine: Engine) -> None:
    submit_one(engine, image_request(loras=["bella"]))
    with transaction(engine) as session:
        record_lora(session, lora_manifest("other", "foreign"))
        record_lora(session, lora_manifest("demo", "of-anna", dataset="anna"))
    assert claim_all(engine) == []
    assert _days(engine) == []
    with transaction(engine) as session:
        record_lora(session, lora_manifest("demo", "lora1"))
    assert _days(engine) == [f"demo/{DAY}"]
    assert len(claim_all(engine)) == 1


def test_a_video_waits_until_its_image_is_there(engine: Engine) -> None:
    image = submit_one(engine)
    video = submit_one(engine, video_request(image.id))
    running = claim_one(engine)
    assert claim_all(engine, kind=JobKind.VIDEO) == []
    complete_job(engine, running)
    assert [job.id for job in claim_all(engine, kind=JobKind.VIDEO)] == [video.id]


def test_days_with_work_are_those_with_a_job_that_can_be_claimed_now(engine: Engine) -> None:
    submit_one(engine)
    submit_one(engine, tenant="other")
    with transaction(engine) as session:
        job_queue.submit(session, "demo", NEXT_DAY, [image_request(), image_request()])
    assert _days(engine) == [f"demo/{DAY}", f"demo/{NEXT_DAY}", f"other/{DAY}"]
    assert _days(engine, JobKind.VIDEO) == []
    claim_all(engine, tenant="demo", day=NEXT_DAY)
    assert _days(engine) == [f"demo/{DAY}", f"other/{DAY}"]


def test_a_heartbeat_renews_the_lease(engine: Engine, session: Session) -> None:
    submit_one(engine)
    job = claim_one(engine, lease_seconds=10)
    assert beat(session, job) is None
    renewed = job_queue.get_job(session, "demo", job.id)
    assert renewed.lease_expires_at is not None
    assert job.lease_expires_at is not None
    assert (renewed.lease_expires_at - job.lease_expires_at).total_seconds() > 500
    assert renewed.progress == 0.5


def test_a_heartbeat_with_an_old_token_renews_nothing(engine: Engine) -> None:
    submit_one(engine)
    old = claim_one(engine)
    with transaction(engine) as session:
        assert job_queue.requeue(session, old.id, old.lease_token)
    claim_one(engine)
    before = job_now(engine, old)
    with transaction(engine) as session:
        assert beat(session, old) is JobStatus.RUNNING
    assert job_now(engine, old) == before


def test_a_requeued_job_keeps_its_attempt_but_its_claims_go_on_counting(engine: Engine) -> None:
    submit_one(engine)
    for claims in range(1, 6):
        job = claim_one(engine)
        assert (job.attempt, job.lease_token) == (1, claims)
        with transaction(engine) as session:
            assert job_queue.requeue(session, job.id, job.lease_token, gpu_seconds=1.5)
    requeued = job_now(engine, job)
    assert (requeued.status, requeued.attempt, requeued.gpu_seconds) == (JobStatus.PENDING, 0, 7.5)
    assert requeued.lease_owner is None


def test_a_lost_lease_requeues_nothing(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    complete_job(engine, job)
    with transaction(engine) as session:
        assert not job_queue.requeue(session, job.id, job.lease_token)
    assert job_now(engine, job).status is JobStatus.COMPLETED


def test_a_lease_that_holds_is_not_expired(engine: Engine) -> None:
    submit_one(engine)
    claim_one(engine)
    assert _expire(engine) == 0


@pytest.mark.parametrize(("attempt", "delay_seconds"), [(1, 5), (2, 25)])
def test_an_expired_lease_goes_back_to_pending_after_a_backoff(
    engine: Engine, attempt: int, delay_seconds: int
) -> None:
    submit_one(engine)
    for _ in range(attempt - 1):
        run_out_leases(engine, claim_one(engine))
        _expire(engine)
        end_backoff(engine)
    job = claim_one(engine, owner="worker 7")
    run_out_leases(engine, job)
    with transaction(engine) as session:
        assert job_queue.expire_leases(session) == 1
        waiting = job_queue.get_job(session, "demo", job.id)
        assert backoff_seconds(session, waiting) == delay_seconds
        assert job_queue.days_with_claimable_jobs(session, JobKind.IMAGE) == []
        worker = WorkerRegistration("worker", JobKind.IMAGE, "demo", DAY)
        assert job_queue.claim_fairly(session, worker, SERVERS, lease_seconds=60, limit=1) == []
    assert waiting.status is JobStatus.PENDING
    assert waiting.error == f"the worker worker 7 stalled in attempt {attempt} of 3"


def test_a_job_whose_workers_die_three_times_fails_and_so_does_its_video(engine: Engine) -> None:
    image = submit_one(engine)
    video = submit_one(engine, video_request(image.id))
    for _ in range(3):
        end_backoff(engine)
        run_out_leases(engine, claim_one(engine))
        assert _expire(engine) == 1
    assert job_now(engine, image).status is JobStatus.FAILED
    assert job_now(engine, video).status is JobStatus.FAILED
    assert "stalled in attempt 3 of 3" in (job_now(engine, video).error or "")


def test_a_worker_whose_lease_expired_can_write_nothing_more(engine: Engine) -> None:
    submit_one(engine)
    old = claim_one(engine)
    run_out_leases(engine, old)
    _expire(engine)
    end_backoff(engine)
    new = claim_one(engine)
    assert (new.attempt, new.lease_token) == (2, 2)
    before = job_now(engine, new)
    with pytest.raises(job_queue.LeaseLostError, match="the lease 1 of job"):
        complete_job(engine, old)
    for error in (TransientError("away"), PermanentError("wrong")):
        with pytest.raises(job_queue.LeaseLostError), transaction(engine) as session:
            job_queue.fail(session, old.id, old.lease_token, error)
    with transaction(engine) as session:
        assert not job_queue.requeue(session, old.id, old.lease_token)
        assert beat(session, old) is JobStatus.RUNNING
        assert job_queue.media_asset_of_job(session, "demo", old.id) is None
    assert job_now(engine, new) == before
    assert complete_job(engine, new).job_id == old.id


def test_the_leases_of_a_dead_worker_end_before_they_run_out(engine: Engine) -> None:
    for _ in range(2):
        submit_one(engine)
    dead, living = claim_one(engine, limit=1, owner="dead"), claim_one(engine, owner="living")
    with transaction(engine) as session:
        assert job_queue.expire_leases(session, owner="dead") == 1
    assert job_now(engine, dead).status is JobStatus.PENDING
    assert "worker dead stalled" in str(job_now(engine, dead).error)
    assert job_now(engine, living).status is JobStatus.RUNNING


def test_a_dead_worker_s_lease_that_another_took_over_is_not_ended(engine: Engine) -> None:
    submit_one(engine)
    run_out_leases(engine, claim_one(engine, owner="dead"))
    _expire(engine)
    end_backoff(engine)
    job = claim_one(engine, owner="living")
    with transaction(engine) as session:
        assert job_queue.expire_leases(session, owner="dead") == 0
    assert job_now(engine, job).status is JobStatus.RUNNING


def test_a_late_worker_whose_job_nobody_took_back_still_completes(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    run_out_leases(engine, job)
    complete_job(engine, job)
    assert _expire(engine) == 0
    assert job_now(engine, job).status is JobStatus.COMPLETED


def test_a_sweep_leaves_alone_what_a_worker_is_writing(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    run_out_leases(engine, job)
    with transaction(engine) as session:
        job_queue.complete(session, job.id, job.lease_token, output_of(job), manifest_key_of(job))
        assert _expire(engine) == 0
    assert job_now(engine, job).status is JobStatus.COMPLETED


def test_claiming_one_of_ten_thousand_jobs_reads_an_index(session: Session) -> None:
    session.execute(
        text("""
        INSERT INTO jobs (id, tenant_id, day, kind, priority, payload, max_attempts)
        SELECT gen_random_uuid(), CASE WHEN n % 2 = 0 THEN 'demo' ELSE 'other' END, :day, 'image',
               n % 10, '{"kind": "image", "prompt": "x", "seed": 1}', 3
          FROM generate_series(1, 10000) AS n""").bindparams(day=DAY)
    )
    session.execute(text("ANALYZE jobs"))
    sent: list[tuple[str, Any]] = []
    event.listen(
        session.connection(), "before_cursor_execute", lambda *call: sent.append(call[2:4])
    )
    worker = WorkerRegistration("worker", JobKind.IMAGE, "demo", DAY)
    claim_rows(session, worker, lease_seconds=60, limit=1)
    [(sql, values)] = sent
    explained = session.connection().exec_driver_sql(f"EXPLAIN {sql}", values)
    plan = "\n".join(row[0] for row in explained)
    assert "using ix_jobs_pending_of_day on jobs" in plan
    assert "Seq Scan on jobs" not in plan
    assert "Sort" not in plan


def test_a_day_key_is_what_a_claimed_job_belongs_to(engine: Engine) -> None:
    submit_one(engine)
    assert claim_one(engine).day_key == DayKey("demo", DAY)


def test_an_outage_ends_no_lease_before_its_worker_could_renew_it(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    assert _expire(engine) == 0
    let_time_pass(engine, 3600)
    assert _expire(engine) == 0
    with transaction(engine) as session:
        assert beat(session, job) is None


def test_a_worker_that_died_in_an_outage_loses_its_lease_soon_after(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    _expire(engine)
    let_time_pass(engine, 3600)
    assert _expire(engine) == 0
    run_out_leases(engine, job)  # the grace of 15 s is over
    assert _expire(engine) == 1


def test_a_lease_that_holds_is_not_made_longer_by_an_outage(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    _expire(engine)
    let_time_pass(engine, 30)
    lease = job_now(engine, job).lease_expires_at
    _expire(engine)
    assert job_now(engine, job).lease_expires_at == lease


def test_slow_sweeps_end_leases_too(engine: Engine) -> None:
    submit_one(engine)
    job = claim_one(engine)
    num_sweeps = 1
    while _expire(engine) == 0:
        assert num_sweeps < 20
        let_time_pass(engine, 12)
        num_sweeps += 1
    assert num_sweeps > 5
    assert job_now(engine, job).status is JobStatus.PENDING

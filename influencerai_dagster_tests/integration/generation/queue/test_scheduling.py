"""Fair claims: which job renders next, where, and what it costs its tenant."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.notifications import CANCELLED, SUBMITTED
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import (
    ImageJobPayload,
    JobRequest,
    Need,
    UpscaleJobPayload,
)
from influencerai_dagster.generation.queue import WorkerRegistration
from influencerai_dagster_tests.testing.catalog_rows import (
    DAY,
    claim_one,
    complete_job,
    image_request,
    job_now,
    output_of,
    submit_one,
    video_request,
)

SERVERS = ("http://gpu-1", "http://gpu-2")
LARGE = JobRequest(payload=ImageJobPayload(prompt="bella", base_model="large.safetensors"))


def a_worker(tenant: str = "demo", kind: JobKind = JobKind.IMAGE) -> WorkerRegistration:
    return WorkerRegistration(f"{kind} run of {tenant}", kind, tenant, DAY)


def submit(engine: Engine, number: int, tenant: str = "demo") -> list[job_queue.Job]:
    with transaction(engine) as session:
        return job_queue.submit(session, tenant, DAY, [image_request() for _ in range(number)])


def claim(
    engine: Engine, worker: WorkerRegistration, servers: Sequence[str] = SERVERS, **options: Any
) -> list[job_queue.ClaimedJob]:
    with transaction(engine) as session:
        return job_queue.claim_fairly(
            session,
            worker,
            dict.fromkeys(servers, 0),
            **{"lease_seconds": 60.0, "limit": 100, **options},
        )


def poll(engine: Engine, worker: WorkerRegistration, num_wanted: int) -> None:
    with transaction(engine) as session:
        job_queue.poll(session, worker, num_wanted)


def share(engine: Engine, tenant: str = "demo") -> dict[str, Any]:
    with transaction(engine) as session:
        statement = text("SELECT * FROM gpu_shares WHERE tenant_id = :tenant")
        return dict(session.execute(statement, {"tenant": tenant}).mappings().one())


def finish(engine: Engine, job: job_queue.ClaimedJob, render_seconds: float) -> None:
    output = output_of(job, render_seconds=render_seconds)
    with transaction(engine) as session:
        key = f"images/{job.tenant}/{job.id}/output.json"
        job_queue.complete(session, job.id, job.lease_token, output, key)


def test_every_server_gets_one_job_to_run_and_one_to_wait(engine: Engine) -> None:
    submit(engine, 10)
    jobs = claim(engine, a_worker())
    assert [job.server for job in jobs] == ["http://gpu-1", "http://gpu-2"] * 2
    assert claim(engine, a_worker()) == []
    assert {job.lease_owner for job in jobs} == {"image run of demo"}


def test_a_job_whose_server_is_done_with_it_takes_no_place_there(engine: Engine) -> None:
    submit(engine, 10)
    first, *_ = claim(engine, a_worker())
    with transaction(engine) as session:
        held = {first.id: job_queue.HeldLease(first.lease_token, 1.0)}
        assert job_queue.renew_leases(session, held, 60) == {}
    assert [job.server for job in claim(engine, a_worker())] == [first.server]


def test_a_worker_gets_no_more_than_it_can_work_on(engine: Engine) -> None:
    submit(engine, 10)
    assert len(claim(engine, a_worker(), limit=3)) == 3


def test_a_server_that_is_not_usable_gets_nothing(engine: Engine) -> None:
    submit(engine, 10)
    assert {job.server for job in claim(engine, a_worker(), ["http://gpu-2"])} == {"http://gpu-2"}
    assert claim(engine, a_worker(), []) == []


def test_a_server_gets_no_job_of_a_need_that_it_cannot_serve(engine: Engine) -> None:
    large = submit_one(engine, LARGE)
    small = submit_one(engine)
    unfit = {SERVERS[0]: frozenset({Need("large.safetensors", "", ())})}
    jobs = claim(engine, a_worker(), unfit=unfit)
    assert {job.id: job.server for job in jobs} == {large.id: SERVERS[1], small.id: SERVERS[0]}
    assert next(job for job in jobs if job.id == large.id).need in unfit[SERVERS[0]]


def test_a_server_without_an_upscale_model_gets_the_upscales_of_other_models(
    engine: Engine,
) -> None:
    image = submit_one(engine)
    finish(engine, claim_one(engine), 1.0)
    missing, there = (
        submit_one(
            engine,
            JobRequest(payload=UpscaleJobPayload(source_job_id=image.id, upscale_model=name)),
        )
        for name in ("missing.pth", "there.pth")
    )
    unfit = {SERVERS[0]: frozenset({Need("missing.pth", "", ())})}
    jobs = claim(engine, a_worker(kind=JobKind.UPSCALE), unfit=unfit)
    assert {job.id: job.server for job in jobs} == {missing.id: SERVERS[1], there.id: SERVERS[0]}


def test_a_job_that_only_a_busy_server_can_serve_waits_and_keeps_nobody_from_the_other(
    engine: Engine,
) -> None:
    for _ in range(10):
        submit_one(engine, LARGE)
    submit(engine, 4, "other")
    poll(engine, a_worker("other"), 4)
    unfit = {SERVERS[0]: frozenset({Need("large.safetensors", "", ())})}
    mine = claim(engine, a_worker(), unfit=unfit)
    assert mine
    assert {job.server for job in mine} == {SERVERS[1]}
    theirs = claim(engine, a_worker("other"))
    assert [job.server for job in theirs].count(SERVERS[0]) == 2


def test_a_tenant_that_had_more_leaves_free_slots_to_one_that_waits(engine: Engine) -> None:
    submit(engine, 10)
    first, *_ = claim(engine, a_worker())
    submit(engine, 1, "other")
    poll(engine, a_worker("other"), 1)
    finish(engine, first, 5.0)
    assert claim(engine, a_worker()) == []
    assert [job.tenant for job in claim(engine, a_worker("other"))] == ["other"]


def test_no_slot_is_kept_for_a_stalled_worker(engine: Engine) -> None:
    submit(engine, 10)
    first, *_ = claim(engine, a_worker())
    submit(engine, 1, "other")
    poll(engine, a_worker("other"), 1)
    with transaction(engine) as session:
        session.execute(text("UPDATE workers SET polled_at = now() - interval '4 s'"))
    finish(engine, first, 5.0)
    assert len(claim(engine, a_worker())) == 1


def test_a_tenant_with_nothing_there_goes_before_the_flood(engine: Engine) -> None:
    submit(engine, 10)
    flood = claim(engine, a_worker())
    submit(engine, 5, "other")
    (job,) = claim(engine, a_worker("other"))
    assert (job.is_front, [item.is_front for item in flood]) == (True, [False] * 4)
    assert claim(engine, a_worker("other")) == [], "one at a time"


def test_an_hour_of_claims_gives_each_tenant_its_weight_of_seconds(engine: Engine) -> None:
    with transaction(engine) as session:
        session.execute(text("UPDATE tenants SET gpu_weight = 2 WHERE id = 'other'"))
    for tenant in ("demo", "other"):
        submit(engine, 80, tenant)
        poll(engine, a_worker(tenant), 16)
    seconds = {"demo": 2.0, "other": 1.0}
    running: list[job_queue.ClaimedJob] = []
    for _ in range(60):
        for tenant in ("demo", "other"):
            running += claim(engine, a_worker(tenant), SERVERS[:1])
        done = running.pop(0)
        finish(engine, done, seconds[done.tenant])
    used = {tenant: share(engine, tenant)["used_seconds"] for tenant in seconds}
    assert used["other"] / used["demo"] == pytest.approx(2, rel=0.15)


def test_a_claim_is_charged_in_advance_and_corrected_when_it_is_done(engine: Engine) -> None:
    submit(engine, 2)
    (job,) = claim(engine, a_worker(), limit=1)
    assert share(engine)["finish_tag"] == pytest.approx(1.0)
    finish(engine, job, 7.5)
    now = share(engine)
    assert (now["finish_tag"], now["used_seconds"], now["mean_seconds"]) == (
        7.5,
        7.5,
        {"image": 7.5},
    )
    claim(engine, a_worker(), limit=1)
    assert share(engine)["finish_tag"] == pytest.approx(15.0)


def test_a_failed_attempt_is_charged_with_what_it_used(engine: Engine) -> None:
    submit(engine, 1)
    (job,) = claim(engine, a_worker())
    with transaction(engine) as session:
        job_queue.fail(session, job.id, job.lease_token, TransientError("away"), gpu_seconds=0.25)
    now = share(engine)
    assert (now["finish_tag"], now["used_seconds"], now["mean_seconds"]) == (0.25, 0.25, {})


def test_a_requeued_job_costs_nothing(engine: Engine) -> None:
    submit(engine, 1)
    (job,) = claim(engine, a_worker())
    with transaction(engine) as session:
        assert job_queue.requeue(session, job.id, job.lease_token)
    assert share(engine)["finish_tag"] == 0.0


def test_images_and_videos_are_paid_from_one_share(engine: Engine) -> None:
    image = submit(engine, 1)[0]
    (claimed,) = claim(engine, a_worker())
    complete_job(engine, claimed)
    submit_one(engine, video_request(image.id))
    before = share(engine)["finish_tag"]
    (video,) = claim(engine, a_worker(kind=JobKind.VIDEO))
    finish(engine, video, 30.0)
    now = share(engine)
    assert now["finish_tag"] == pytest.approx(before + 30.0)
    assert now["mean_seconds"] == {"image": 2.5, "video": 30.0}


def test_two_workers_that_claim_at_once_never_share_a_slot(engine: Engine) -> None:
    for tenant in ("demo", "other"):
        submit(engine, 20, tenant)
        poll(engine, a_worker(tenant), 16)
    with ThreadPoolExecutor(4) as pool:
        claimed = list(
            pool.map(lambda tenant: claim(engine, a_worker(tenant)), ["demo", "other"] * 4)
        )
    jobs = [job for some in claimed for job in some if not job.is_front]
    assert len({job.id for job in jobs}) == len(jobs) == 4


def test_those_who_had_less_are_told_from_those_who_had_more(engine: Engine) -> None:
    for tenant in ("demo", "other"):
        submit(engine, 1, tenant)
        poll(engine, a_worker(tenant), 1)
    (job,) = claim(engine, a_worker("other"))
    finish(engine, job, 9.0)
    with transaction(engine) as session:
        assert job_queue.num_workers_with_more(session, a_worker("demo")) == 1
        assert job_queue.num_workers_with_more(session, a_worker("other")) == 0
        job_queue.unregister_worker(session, a_worker("other").owner)
        assert job_queue.num_workers_with_more(session, a_worker("demo")) == 0


def test_own_jobs_are_active_while_they_render_or_will_without_anybody_elses_doing(
    engine: Engine,
) -> None:
    first, second = submit(engine, 2)

    def is_active(*jobs: job_queue.Job) -> bool:
        with transaction(engine) as session:
            return job_queue.has_active(session, JobKind.IMAGE, [job.id for job in jobs])

    assert is_active(first)
    for job in claim(engine, a_worker()):
        assert is_active(job)
        error = TransientError("away") if job.id == first.id else PermanentError("wrong")
        with transaction(engine) as session:
            job_queue.fail(session, job.id, job.lease_token, error)
    assert is_active(first), "its backoff ends by itself"
    assert not is_active(second)
    waiting = submit_one(engine, image_request(loras=["bella"]))
    assert not is_active(waiting), "nobody knows when its LoRA is trained"
    assert not is_active()


def test_work_and_cancellations_are_heard_at_once(engine: Engine) -> None:
    with job_queue.Listener(engine) as listener:
        assert not listener.wait(0)
        job = submit(engine, 1)[0]
        assert listener.wait(5) == {SUBMITTED}
        with transaction(engine) as session:
            job_queue.cancel(session, "demo", job.id)
        assert CANCELLED in listener.wait(5)
        assert not listener.wait(0)
    assert job_now(engine, job).status is JobStatus.CANCELLED


def test_a_listener_whose_connection_breaks_says_so(engine: Engine) -> None:
    with job_queue.Listener(engine) as listener:
        with transaction(engine) as session:
            session.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE query LIKE 'LISTEN%' AND datname = current_database()"
                )
            )
        listener.wait(5)  # the server says goodbye first
        with pytest.raises(TransientError, match="notification connection to PostgreSQL broke"):
            listener.wait(5)


def test_what_killed_workers_left_is_forgotten_and_a_frozen_one_comes_back(engine: Engine) -> None:
    poll(engine, a_worker(), 1)
    poll(engine, a_worker("other"), 1)
    with transaction(engine) as session:
        session.execute(
            text("UPDATE workers SET polled_at = now() - interval '1 min' WHERE tenant_id = 'demo'")
        )
        job_queue.expire_leases(session)
        owners = session.scalars(text("SELECT owner FROM workers")).all()
    assert owners == [a_worker("other").owner]
    poll(engine, a_worker(), 1)
    with transaction(engine) as session:
        again = WorkerRegistration("another run", JobKind.IMAGE, "demo", DAY)
        assert job_queue.has_earlier_worker(session, again)
        assert not job_queue.has_earlier_worker(session, a_worker())


def test_listening_to_a_server_that_is_away_is_a_passing_failure() -> None:
    away = create_catalog_engine("postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(TransientError, match="LISTEN failed"):
        job_queue.Listener(away)

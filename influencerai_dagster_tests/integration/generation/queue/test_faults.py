"""Workers that die, stall and give up at random: no job is lost, none ends twice."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue.retry_policy import MAX_ATTEMPTS
from influencerai_dagster_tests.testing.catalog_rows import (
    DAY,
    claim_all,
    complete_job,
    end_backoff,
    image_request,
    run_out_leases,
    video_request,
)

NUM_WORKERS = 4
NUM_IMAGES = 60
DEADLINE_SECONDS = 45


class Workers:
    """Threads that do to their jobs what a seeded die says."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine = engine
        self.seed = seed
        self.completed: Counter[UUID] = Counter()
        self.stalled: list[job_queue.ClaimedJob] = []
        self.lock = threading.Lock()
        self.deadline = time.monotonic() + DEADLINE_SECONDS

    def run(self, number: int) -> None:
        dice = random.Random(f"{self.seed}/{number}")  # noqa: S311 - no secret
        while self._open_jobs():
            assert time.monotonic() < self.deadline, "some jobs never end"
            for job in claim_all(
                self.engine, kind=dice.choice(list(JobKind)), limit=dice.randint(1, 4)
            ):
                self._work(job, dice.random())
            self._sweep()

    def _work(self, job: job_queue.ClaimedJob, draw: float) -> None:
        if draw < 0.5:
            self._complete(job)
        elif draw < 0.65:  # dies, and comes back to life after another has its job
            run_out_leases(self.engine, job)
            with self.lock:
                self.stalled.append(job)
        else:
            with suppress(job_queue.LeaseLostError), transaction(self.engine) as session:
                if draw < 0.8:
                    job_queue.requeue(session, job.id, job.lease_token)
                elif draw < 0.95:
                    job_queue.fail(session, job.id, job.lease_token, TransientError("away"))
                elif draw < 0.98:
                    job_queue.fail(session, job.id, job.lease_token, PermanentError("bad"))
                else:
                    job_queue.cancel(session, job.tenant, job.id)

    def _complete(self, job: job_queue.ClaimedJob) -> None:
        with suppress(job_queue.LeaseLostError):
            complete_job(self.engine, job)
            with self.lock:
                self.completed[job.id] += 1

    def _sweep(self) -> None:
        with transaction(self.engine) as session:
            job_queue.expire_leases(session)
        with suppress(TransientError):
            end_backoff(self.engine)
        with self.lock:
            late, self.stalled = self.stalled, []
        for job in late:
            self._complete(job)

    def _open_jobs(self) -> bool:
        with transaction(self.engine) as session:
            counts = job_queue.count_by_status(session)
        return counts[JobStatus.PENDING] + counts[JobStatus.RUNNING] > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_every_job_ends_once_whatever_its_workers_do(engine: Engine, seed: int) -> None:
    with transaction(engine) as session:
        requests = [image_request(priority=number % 10) for number in range(NUM_IMAGES)]
        images = job_queue.submit(session, "demo", DAY, requests)
        videos = job_queue.submit(
            session, "demo", DAY, [video_request(job.id) for job in images[::3]]
        )
    workers = Workers(engine, seed)
    with ThreadPoolExecutor(NUM_WORKERS) as pool:
        list(pool.map(workers.run, range(NUM_WORKERS)))

    with transaction(engine) as session:
        jobs = {job.id: job for job in job_queue.list_jobs(session, "demo", limit=1000)}
        recorded = set(session.scalars(text("SELECT job_id FROM media_assets")))
    assert jobs.keys() == {job.id for job in images + videos}
    done = {job.id for job in jobs.values() if job.status is JobStatus.COMPLETED}
    assert recorded == done == workers.completed.keys()
    assert set(workers.completed.values()) == {1}
    for job in jobs.values():
        assert job.lease_owner is None
        assert job.attempt <= MAX_ATTEMPTS
        assert job.status in {JobStatus.COMPLETED, JobStatus.CANCELLED} or job.error
        if job.kind is JobKind.VIDEO and job.id in done:
            assert job.depends_on in done

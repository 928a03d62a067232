"""Claims and renders the jobs of one tenant-day.

How one image or one video is made lives in generation/render/images.py and
generation/render/videos.py, whose turn it is in generation/queue/scheduling.py, for how long in
preemption.py.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from uuid import UUID

from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db import storage_pauses
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.storage_pauses import StoragePause
from influencerai_dagster.errors import InfluencerAIError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import ClaimedJob, HeldLease, WorkerRegistration
from influencerai_dagster.generation.queue.fairness import MAX_DEPTH
from influencerai_dagster.generation.storage_pauses import try_resume
from influencerai_dagster.generation.worker.executor import JobExecutor, Renderer
from influencerai_dagster.generation.worker.interruptions import Interrupter
from influencerai_dagster.generation.worker.lease_renewal import LeaseKeeper
from influencerai_dagster.generation.worker.options import FinishedJob, WorkerOptions, WorkerReport
from influencerai_dagster.generation.worker.preemption import TimeSlice, is_already_served
from influencerai_dagster.retry import (
    RETRY_FOR_SECONDS,
)

_POLL_SECONDS = 1.0
_CLAIM_PAUSE_SECONDS = 0.05
_STOP_SECONDS = 20.0

_log = logging.getLogger(__name__)


def run_worker(
    engine: Engine,
    kind: JobKind,
    day: DayKey,
    renderer: Renderer,
    *,
    owner: str,
    options: WorkerOptions,
    on_finished: Callable[[FinishedJob], None],
    own_jobs: Collection[UUID] = (),
) -> WorkerReport:
    """Claim and render jobs of one tenant-day until none came, or others have their turn.

    A failed job does not stop the others; its reason is in the job queue and in the report. When
    the worker itself is stopped, its prompts are interrupted and unfinished jobs go back to pending
    without losing an attempt.

    Args:
        owner: who holds the leases, for the job queue (the Dagster run id).
        on_finished: called in this thread for every finished job.
        own_jobs: not to end before these have ended, or wait for something else.

    Raises:
        TransientError: PostgreSQL stayed away, or the run was taken for dead.
    """
    place = WorkerRegistration(owner, kind, day.tenant, day.day)
    executor = JobExecutor(engine, renderer)
    return RenderWorker(place, executor, options, on_finished, own_jobs).run()


class RenderWorker:
    """One worker and its running jobs."""

    def __init__(
        self,
        place: WorkerRegistration,
        executor: JobExecutor,
        options: WorkerOptions,
        on_finished: Callable[[FinishedJob], None],
        own_jobs: Collection[UUID],
    ) -> None:
        self._engine = executor.engine
        self._place = place
        self._executor = executor
        self._render_session = executor.renderer.render_session
        self._options = options
        self._on_finished = on_finished
        self._own_jobs = own_jobs
        self._report = WorkerReport()
        self._interrupter = Interrupter(self._render_session)
        self._running: dict[Future[FinishedJob], ClaimedJob] = {}
        self._recheck = threading.Event()
        self._has_work = True
        self._is_cut_off = False
        self._pause: StoragePause | None = None
        self._time_slice = TimeSlice(executor.engine, place, options)
        self._busy_at = self._reached_at = time.monotonic()
        self._claimed_at = self._polled_at = 0.0

    def run(self) -> WorkerReport:
        """Work until it is over, and leave no lease and no render behind."""
        if not self._own_jobs and is_already_served(self._engine, self._place):
            self._report.was_preempted = True
            return self._report
        num_threads = len(list(self._render_session.server_pool)) * (MAX_DEPTH + 1)
        with (
            self._render_session.server_pool,
            self._interrupter,
            ThreadPoolExecutor(num_threads, thread_name_prefix="render") as pool,
            LeaseKeeper(
                self._engine,
                self._held,
                lease_seconds=self._options.lease_seconds,
                recheck=self._recheck,
                on_cancelled=lambda job_id: self._interrupter.interrupt([job_id]),
            ),
        ):
            try:
                while True:
                    self._start_jobs(pool, num_threads)
                    if self._is_over():
                        return self._report
                    self._recheck.wait(_POLL_SECONDS)
                    self._recheck.clear()
                    self._collect()
            finally:
                self._give_back()

    def _held(self) -> dict[UUID, HeldLease]:
        held = {}
        for job in list(self._running.values()):
            render = self._render_session.renders.get(job.id)
            held[job.id] = HeldLease(job.lease_token, render.progress if render else 0.0)
        return held

    def _start_jobs(self, pool: ThreadPoolExecutor, num_threads: int) -> None:
        pause = self._claimed_at + _CLAIM_PAUSE_SECONDS - time.monotonic()
        if pause > 0:
            time.sleep(pause)  # one claim for several jobs that end at once
        self._claimed_at = time.monotonic()
        try:
            jobs = self._claim(num_threads - len(self._running))
        except TransientError as error:
            # Jobs that render go on meanwhile, and their results wait to be written.
            if time.monotonic() - self._reached_at > RETRY_FOR_SECONDS:
                raise
            if not self._is_cut_off:
                _log.warning("no jobs are claimed until PostgreSQL is back: %s", error)
            self._is_cut_off = True
            return
        self._is_cut_off = False
        self._reached_at = time.monotonic()
        for job in jobs:
            future = pool.submit(self._executor.work, job)
            self._running[future] = job
            future.add_done_callback(lambda _: self._recheck.set())

    def _claim(self, limit: int) -> list[ClaimedJob]:
        now, servers = time.monotonic(), self._executor.usable_servers()
        if self._pause is not None:
            try_resume(self._engine, self._executor.renderer.store)
        with transaction(self._engine) as session:
            pause = storage_pauses.current_pause(session)
            if pause is not None:
                self._note_pause(pause)
                job_queue.poll(session, self._place, 0)
                return []
            self._pause = None
            # Also while no server can be used there is work to wait for.
            self._has_work = job_queue.has_claimable(session, self._place)
            if self._has_work and not self._report.was_preempted:
                self._busy_at = now
                if limit > 0 and servers:
                    return job_queue.claim_fairly(
                        session,
                        self._place,
                        servers,
                        unfit=self._render_session.unfit_needs(),
                        lease_seconds=self._options.lease_seconds,
                        limit=limit,
                    )
            if now - self._polled_at >= _POLL_SECONDS:
                self._polled_at = now
                job_queue.poll(session, self._place, 0)
        return []

    def _note_pause(self, pause: StoragePause) -> None:
        """Claim nothing while the object store is full; renders that wait for space go on."""
        if self._pause is None:
            self._options.on_full(pause)
        self._pause = pause
        # Without such a render this worker is of no use: the sensor starts another in time.
        self._has_work = False

    def _collect(self) -> None:
        for future in [future for future in self._running if future.done()]:
            job = self._running.pop(future)
            self._render_session.end(job.id)
            self._report.add(future.result())
            self._on_finished(future.result())
        if self._running:
            self._busy_at = time.monotonic()

    def _is_over(self) -> bool:
        """Decide whether to end: idle for long enough, or others have waited for long enough."""
        if self._options.is_reaped():
            raise TransientError(
                "this run was taken for dead, because its heartbeat stopped: its jobs went back to "
                "the job queue, and another run goes on with them"
            )
        is_idle = not self._running and time.monotonic() - self._busy_at >= _POLL_SECONDS
        self._report.was_preempted = self._report.was_preempted or self._time_slice.is_over(
            is_idle=is_idle
        )
        if self._running:
            return False
        is_idle_too_long = time.monotonic() - self._busy_at >= self._options.idle_timeout_seconds
        is_done = is_idle_too_long and not self._has_work
        return self._report.was_preempted or (is_done and not self._has_own_work())

    def _has_own_work(self) -> bool:
        if not self._own_jobs:
            return False
        try:
            with transaction(self._engine) as session:
                return job_queue.has_active(session, self._place.kind, self._own_jobs)
        except TransientError:
            return True

    def _give_back(self) -> None:
        """Return all leases, then stop the prompts, and wait for no server that does not answer."""
        self._render_session.stopping.set()
        # The last first: a prompt that is stopped makes room for the next one in its queue.
        jobs = list(self._running.values())[::-1]
        stopped = [job.id for job in jobs if self._executor.give_back(job)]
        with suppress(InfluencerAIError), transaction(self._engine) as session:
            job_queue.unregister_worker(session, self._place.owner)
        if stopped:
            deadline = time.monotonic() + _STOP_SECONDS
            while time.monotonic() < deadline:
                self._interrupter.interrupt(stopped)  # again: a prompt may just have been sent
                if not wait(self._running, timeout=_POLL_SECONDS).not_done:
                    break
            self._render_session.server_pool.close()

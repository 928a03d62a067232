"""Claim and render the jobs of one tenant-day, and yield the pool slot to other runs in time.

One job is executed in generation/worker/executor.py. Which tenant's jobs are claimed is decided in
generation/queue/scheduling.py; pool slots are those of Dagster's pools.
"""

import logging
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Self
from uuid import UUID

from sqlalchemy import Engine

from influencerai_dagster.db import storage_pauses
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.storage_pauses import StoragePause
from influencerai_dagster.errors import InfluencerAIError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import ClaimedJob, HeldLease, WorkerRegistration
from influencerai_dagster.generation.queue.fairness import MAX_DEPTH
from influencerai_dagster.generation.render.renderer import Renderer
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.generation.storage_pauses import try_resume
from influencerai_dagster.generation.worker.executor import JobExecutor
from influencerai_dagster.generation.worker.lease_renewal import LeaseRenewer
from influencerai_dagster.generation.worker.options import FinishedJob, WorkerOptions, WorkerReport
from influencerai_dagster.retry import RETRY_FOR_SECONDS
from influencerai_dagster.storage.object_store import ObjectStore

_CLAIM_PAUSE_SECONDS, _LONG_CLAIM_PAUSE_SECONDS = 0.05, 0.1
_EARLIER_WORKER_POLL_SECONDS = 0.25
_STOP_SECONDS = 20.0
_NUM_INTERRUPTER_THREADS = 8

_log = logging.getLogger(__name__)


class RenderWorker:
    """Claims and renders jobs until none came for a while, or other runs wait for the slot.

    Args:
        engine: of the catalog.
        store: the bucket of assets; while it is full, the worker probes it.
        render_session: the ComfyUI servers, for this worker alone.
        renderer: of the registration's kind of jobs.
        registration: whose jobs, and who holds the leases (the Dagster run id).
        options: when it ends.
    """

    def __init__(
        self,
        engine: Engine,
        store: ObjectStore,
        render_session: RenderSession,
        renderer: Renderer,
        *,
        registration: WorkerRegistration,
        options: WorkerOptions,
    ) -> None:
        self._engine = engine
        self._store = store
        self._render_session = render_session
        self._registration = registration
        self._options = options
        self._executor = JobExecutor(engine, render_session, renderer, options.avoid_seconds)
        self._interrupter = _Interrupter(render_session)
        self._report = WorkerReport()
        self._running: dict[Future[FinishedJob], ClaimedJob] = {}
        self._recheck = threading.Event()
        # As of the last claim; while the object store is full, no job is claimable.
        self._has_claimable = True
        self._pause: StoragePause | None = None
        self._is_cut_off = False
        # All of time.monotonic().
        self._began_at = self._busy_at = self._reached_at = time.monotonic()
        self._claimed_at = self._polled_at = self._slice_checked_at = 0.0

    def run(self) -> WorkerReport:
        """Work until the end; leave no lease and no render behind.

        A failed job does not stop the others; its reason is in the job queue and in the report.
        When the worker itself is stopped, by an exception in this thread, its prompts are
        interrupted and its unfinished jobs are requeued without losing an attempt.

        Raises:
            TransientError: PostgreSQL stayed away.
        """
        if not self._options.own_jobs and self._is_served_by_earlier_worker():
            self._report.was_preempted = True
            return self._report
        num_threads = len(self._render_session.server_pool) * (MAX_DEPTH + 1)
        with (
            self._render_session.server_pool,
            self._interrupter,
            ThreadPoolExecutor(num_threads, thread_name_prefix="render") as pool,
            LeaseRenewer(
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
                    self._recheck.wait(self._options.poll_seconds)
                    self._recheck.clear()
                    self._collect()
            finally:
                self._stop()

    def _is_served_by_earlier_worker(self) -> bool:
        """Return whether another run renders this tenant-day already.

        A run that was killed a moment ago looks live for a few seconds, so this takes as long.
        """
        deadline = time.monotonic() + self._options.earlier_worker_seconds
        with suppress(TransientError):
            while time.monotonic() < deadline:
                with transaction(self._engine) as session:
                    if not job_queue.has_earlier_worker(session, self._registration):
                        return False
                time.sleep(_EARLIER_WORKER_POLL_SECONDS)
            return True
        return False

    def _held(self) -> dict[UUID, HeldLease]:
        held = {}
        for job in list(self._running.values()):
            render = self._render_session.renders.get(job.id)
            held[job.id] = HeldLease(job.lease_token, render.progress if render else 0.0)
        return held

    def _start_jobs(self, pool: ThreadPoolExecutor, num_threads: int) -> None:
        # One claim for several jobs that end at once. Only short renders keep most threads busy.
        is_busy = len(self._running) > num_threads / 2
        pause_seconds = _LONG_CLAIM_PAUSE_SECONDS if is_busy else _CLAIM_PAUSE_SECONDS
        time.sleep(max(0.0, self._claimed_at + pause_seconds - time.monotonic()))
        self._claimed_at = time.monotonic()
        try:
            jobs = self._claim(num_threads - len(self._running))
        except TransientError as error:
            # Running renders continue, and their outcomes wait to be written.
            if time.monotonic() - self._reached_at > RETRY_FOR_SECONDS:
                raise
            if not self._is_cut_off:
                _log.warning("no jobs are claimed until PostgreSQL is back: %s", error)
            self._is_cut_off = True
            return
        self._is_cut_off = False
        self._reached_at = time.monotonic()
        for job in jobs:
            future = pool.submit(self._executor.execute, job)
            self._running[future] = job
            future.add_done_callback(lambda _: self._recheck.set())

    def _claim(self, limit: int) -> list[ClaimedJob]:
        now, servers = time.monotonic(), self._executor.usable_servers()
        if self._pause is not None:
            every_seconds = self._options.storage_probe_seconds
            try_resume(self._engine, self._store, every_seconds=every_seconds)
        with transaction(self._engine) as session:
            pause = storage_pauses.current_pause(session)
            if pause is not None:
                self._note_pause(pause)
                job_queue.poll(session, self._registration, 0)
                return []
            self._pause = None
            # Also without a usable server there are jobs to wait for.
            self._has_claimable = job_queue.has_claimable(session, self._registration)
            if self._has_claimable and not self._report.was_preempted:
                self._busy_at = now
                if limit > 0 and servers:
                    return job_queue.claim_fairly(
                        session,
                        self._registration,
                        servers,
                        unfit=self._render_session.unfit_needs(),
                        lease_seconds=self._options.lease_seconds,
                        limit=limit,
                    )
            if now - self._polled_at >= self._options.poll_seconds:
                self._polled_at = now
                job_queue.poll(session, self._registration, 0)
        return []

    def _note_pause(self, pause: StoragePause) -> None:
        """Claim nothing while the object store is full; renders that wait for space continue."""
        if self._pause is None:
            self._options.on_full(pause)
        self._pause = pause
        # Without such a render this worker ends: the sensor starts another run afterwards.
        self._has_claimable = False

    def _collect(self) -> None:
        for future in [future for future in self._running if future.done()]:
            job = self._running.pop(future)
            self._render_session.end(job.id)
            self._report.add(future.result())
            self._options.on_finished(future.result())
        if self._running:
            self._busy_at = time.monotonic()

    def _is_over(self) -> bool:
        """Return whether to end: idle for long enough, or preempted and nothing renders."""
        idle_seconds = 0.0 if self._running else time.monotonic() - self._busy_at
        if not self._report.was_preempted:
            is_idle = not self._running and idle_seconds >= self._options.poll_seconds
            self._report.was_preempted = self._must_yield(is_idle=is_idle)
        if self._running:
            return False
        is_done = idle_seconds >= self._options.idle_timeout_seconds and not self._has_claimable
        return self._report.was_preempted or (is_done and not self._has_own_jobs())

    def _must_yield(self, *, is_idle: bool) -> bool:
        """Return whether to stop claiming, because other runs wait and the time slice is over.

        Args:
            is_idle: nothing has rendered for a moment; the time slice need not be over then.
        """
        now = time.monotonic()
        if now - self._slice_checked_at < self._options.preemption_check_seconds:
            return False
        self._slice_checked_at = now
        if now - self._began_at >= self._options.longest_seconds:
            return True
        num_waiting = self._options.num_waiting()
        is_slice_over = now - self._began_at >= self._options.time_slice_seconds
        if not num_waiting or not (is_idle or is_slice_over):
            return False
        with suppress(TransientError), transaction(self._engine) as session:
            # As many workers yield as runs wait, those first whose tenants had the most.
            num_before = job_queue.num_workers_with_more(session, self._registration)
            return is_idle or num_before < num_waiting
        return False

    def _has_own_jobs(self) -> bool:
        if not self._options.own_jobs:
            return False
        try:
            with transaction(self._engine) as session:
                kind = self._registration.kind
                return job_queue.has_active(session, kind, self._options.own_jobs)
        except TransientError:
            return True

    def _stop(self) -> None:
        """Requeue all jobs, then interrupt their prompts; a server that does not answer is left."""
        self._render_session.stopping.set()
        # The last first: a prompt that is interrupted makes room for the next one in its queue.
        jobs = list(self._running.values())[::-1]
        released = [job.id for job in jobs if self._executor.release(job)]
        with suppress(InfluencerAIError), transaction(self._engine) as session:
            job_queue.unregister_worker(session, self._registration.owner)
        if released:
            deadline = time.monotonic() + _STOP_SECONDS
            while time.monotonic() < deadline:
                self._interrupter.interrupt(released)  # again: a prompt may just have been sent
                if not wait(self._running, timeout=1.0).not_done:
                    break
            self._render_session.server_pool.close()


class _Interrupter:
    """Interrupts renders in threads of its own, one attempt at a time for each job.

    A server may take long to answer, and the worker does not wait for it.
    """

    def __init__(self, render_session: RenderSession) -> None:
        self._render_session = render_session
        self._pool = ThreadPoolExecutor(_NUM_INTERRUPTER_THREADS, thread_name_prefix="interrupt")
        self._lock = threading.Lock()
        self._under_way: set[UUID] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def interrupt(self, job_ids: Iterable[UUID]) -> None:
        """Take the prompts of these jobs off their servers; returns at once."""
        for job_id in job_ids:
            with self._lock:
                if job_id in self._under_way:
                    continue
                self._under_way.add(job_id)
            self._pool.submit(self._interrupt, job_id)

    def _interrupt(self, job_id: UUID) -> None:
        try:
            self._render_session.interrupt(job_id)
        finally:
            with self._lock:
                self._under_way.discard(job_id)

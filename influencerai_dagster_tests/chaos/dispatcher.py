"""Plays `pending_jobs_sensor`, the run launcher and the reaper of dead runs.

One worker for each tenant-day with jobs to claim, and never a second while one is alive. A frozen
worker counts as dead when its heartbeat has been stale for as long as a lease lasts; it may wake up
later, and then two work on the same tenant-day.
"""

import os
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster_tests.chaos.servers import ACCESS_KEY, BUCKET, ChaosServers
from influencerai_dagster_tests.chaos.worker import Assignment, start_worker

LEASE_SECONDS = 4.0
IDLE_TIMEOUT_SECONDS = 1.0
_SIGNALS = {-int(number): number.name for number in signal.Signals}


@dataclass
class Worker:
    """A worker process; `stopped_at` is when it was frozen, by time.monotonic()."""

    owner: str
    day: DayKey
    process: BaseProcess
    stopped_at: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process is there, frozen or not; any thread may ask, unlike `is_alive`."""
        return not wait([self.process.sentinel], timeout=0)

    @property
    def seems_alive(self) -> bool:
        """Whether the reaper takes it for alive."""
        stopped_at = self.stopped_at
        is_stale = stopped_at is not None and time.monotonic() - stopped_at > LEASE_SECONDS
        return self.is_running and not is_stale

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that has ended meanwhile is fine."""
        if self.is_running and self.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


@dataclass
class Dispatcher:
    """Starts workers where there is work.

    Attributes:
        ends: how workers ended: "0", "1", or the name of the signal.
    """

    servers: ChaosServers
    engine: Engine
    workers: list[Worker] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def tick(self) -> None:
        """Do what one tick of the sensor does; without PostgreSQL, nothing."""
        self._forget_ended()
        with suppress(TransientError):
            with transaction(self.engine) as session:
                job_queue.expire_leases(session)
                job_queue.fail_dependents(session)
                days = job_queue.days_with_claimable_jobs(session, JobKind.IMAGE)
            alive = {worker.day for worker in self.workers if worker.seems_alive}
            for day in days:
                if day not in alive:
                    self.workers.append(self._start(day))

    def running(self) -> list[Worker]:
        """Return the workers whose process is there."""
        return [worker for worker in self.workers if worker.is_running]

    def awake(self) -> list[Worker]:
        """Return the workers that run and are not frozen."""
        return [worker for worker in self.running() if worker.stopped_at is None]

    def kill_all(self) -> None:
        """End every worker that is still there with SIGKILL."""
        for worker in self.running():
            worker.send(signal.SIGKILL)
            worker.process.join()
        self._forget_ended()

    def _forget_ended(self) -> None:
        for worker in [item for item in self.workers if not item.is_running]:
            code = worker.process.exitcode
            self.ends[_SIGNALS.get(code or 0, str(code))] += 1
            self.workers.remove(worker)

    def _start(self, day: DayKey) -> Worker:
        owner = f"worker-{next(self._numbers)}"
        assignment = Assignment(
            owner=owner,
            partition_key=str(day),
            database_url=self.servers.database_url,
            s3_endpoint=self.servers.s3_proxy.url,
            s3_access_key=ACCESS_KEY,
            s3_secret_key=self.servers.secret_key,
            s3_bucket=BUCKET,
            comfyui_urls=tuple(server.url for server in self.servers.comfyui),
            lease_seconds=LEASE_SECONDS,
            idle_timeout_seconds=IDLE_TIMEOUT_SECONDS,
        )
        return Worker(owner, day, start_worker(assignment, self.servers.folder / f"{owner}.log"))

"""Draining the job ledger: what pictures and clips share.

How one picture or one clip is made lives in stages/images.py and stages/videos.py.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Protocol
from uuid import UUID

from sqlalchemy import Engine

from influencerai_dagster.catalog import ledger
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.catalog.ledger import ClaimedJob, LeaseLostError
from influencerai_dagster.domain.jobs import JobKind
from influencerai_dagster.domain.keys import DayKey
from influencerai_dagster.domain.manifests.outputs import OutputManifest, StoredFile
from influencerai_dagster.errors import InfluencerAIError, PermanentError

LEASE_SECONDS = 60.0
_POLL_SECONDS = 0.5
JOBS_PER_SERVER = 2
"""One prompt runs while the next waits in the server's own queue, so that it is never empty."""


@dataclass(frozen=True)
class FinishedJob:
    """One job that a drain brought to its end, or gave back."""

    job_id: UUID
    output: OutputManifest | None
    error: str | None
    wait_seconds: float
    seconds: float


@dataclass
class DrainReport:
    """What one drain did, in order of completion."""

    jobs: list[FinishedJob] = field(default_factory=list)

    @property
    def completed(self) -> list[OutputManifest]:
        """The outputs that were made."""
        return [job.output for job in self.jobs if job.output is not None]

    @property
    def failed(self) -> list[FinishedJob]:
        """The jobs that ended with an error; those to be tried again are among them."""
        return [job for job in self.jobs if job.error is not None]


class Renderer(Protocol):
    """How one job of a kind is rendered; called from several threads."""

    def render(self, job: ClaimedJob, server: str) -> tuple[OutputManifest, StoredFile]:
        """Render one job on one server; return the output and its stored manifest."""

    def interrupt(self, job: ClaimedJob, server: str) -> None:
        """Stop the render of one job, and of no other."""


def drain(
    engine: Engine,
    kind: JobKind,
    day: DayKey,
    renderer: Renderer,
    *,
    servers: tuple[str, ...],
    owner: str,
    linger_seconds: float,
    on_finished: Callable[[FinishedJob], None],
) -> DrainReport:
    """Claim and render jobs of one tenant-day until none came for `linger_seconds`.

    A failed job does not stop the others; its reason is in the ledger and in the report. When the
    drain itself is stopped, its prompts are interrupted and unfinished jobs go back to pending
    without losing an attempt.

    Args:
        owner: who holds the leases, for the ledger (the Dagster run id).
        on_finished: called in this thread for every finished job.
    """
    report = DrainReport()
    running: dict[Future[FinishedJob], tuple[ClaimedJob, str]] = {}
    slots = cycle(servers)
    workers = len(servers) * JOBS_PER_SERVER
    idle_since = time.monotonic()
    with (
        ThreadPoolExecutor(workers, thread_name_prefix="render") as pool,
        _beating(engine, renderer, running),
    ):
        try:
            while True:
                for job in _claim(engine, kind, day, owner, workers - len(running)):
                    server = next(slots)
                    running[pool.submit(_work, engine, job, server, renderer)] = (job, server)
                if running:
                    done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                    for future in done:
                        del running[future]
                        report.jobs.append(future.result())
                        on_finished(report.jobs[-1])
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since >= linger_seconds:
                    return report
                else:
                    time.sleep(_POLL_SECONDS)
        finally:
            # The last first: a prompt that is stopped makes room for the next one in its queue.
            _give_back(engine, renderer, list(running.values())[::-1])


def _claim(engine: Engine, kind: JobKind, day: DayKey, owner: str, limit: int) -> list[ClaimedJob]:
    if limit <= 0:
        return []
    with transaction(engine) as session:
        return ledger.claim(
            session,
            kind=kind,
            tenant=day.tenant,
            day=day.day,
            owner=owner,
            dagster_run_id=owner,
            lease_seconds=LEASE_SECONDS,
            limit=limit,
        )


def _work(engine: Engine, job: ClaimedJob, server: str, renderer: Renderer) -> FinishedJob:
    """Render one job and write its end into the ledger."""
    started = time.monotonic()
    output: OutputManifest | None = None
    problem: str | None = None
    try:
        made, manifest = renderer.render(job, server)
        with transaction(engine) as session:
            ledger.complete(session, job.id, job.lease_token, made, manifest.object_key)
        output = made
    except LeaseLostError as error:
        problem = str(error)  # another worker has the job: nothing of it is ours to write
    except InfluencerAIError as error:
        problem = str(error)
        with suppress(LeaseLostError), transaction(engine) as session:
            ledger.fail(session, job.id, job.lease_token, error)
    except Exception as error:  # noqa: BLE001 - one job must not end the run of all the others
        problem = f"{type(error).__name__}: {error}"
        with suppress(LeaseLostError), transaction(engine) as session:
            ledger.fail(session, job.id, job.lease_token, PermanentError(problem))
    return FinishedJob(job.id, output, problem, job.wait_seconds, time.monotonic() - started)


@contextmanager
def _beating(
    engine: Engine,
    renderer: Renderer,
    running: Mapping[Future[FinishedJob], tuple[ClaimedJob, str]],
) -> Iterator[None]:
    """Renew the leases of running jobs while the block runs; stop what was cancelled meanwhile."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(LEASE_SECONDS / 4):
            for job, server in list(running.values()):
                # PostgreSQL may be away for a moment: a lease outlives three missed beats.
                with suppress(InfluencerAIError):
                    with transaction(engine) as session:
                        is_ours = ledger.heartbeat(session, job.id, job.lease_token, LEASE_SECONDS)
                    if not is_ours:
                        renderer.interrupt(job, server)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _give_back(
    engine: Engine, renderer: Renderer, unfinished: list[tuple[ClaimedJob, str]]
) -> None:
    """Return leases, then stop the prompts: so no stopped render counts as a failure."""
    for job, server in unfinished:
        with suppress(InfluencerAIError):
            with transaction(engine) as session:
                ledger.release(session, job.id, job.lease_token)
            renderer.interrupt(job, server)

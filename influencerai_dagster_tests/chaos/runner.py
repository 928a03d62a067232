"""Run a scenario to its end: submissions, workers, faults; violations.py inspects the result."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.errors import TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster_tests.chaos.customers import Customers
from influencerai_dagster_tests.chaos.dispatcher import IDLE_TIMEOUT_SECONDS, Dispatcher
from influencerai_dagster_tests.chaos.faults import Injected, Injector
from influencerai_dagster_tests.chaos.scenario import Action, Event, Scenario, Wave
from influencerai_dagster_tests.chaos.servers import ChaosServers, chaos_servers

TICK_SECONDS = 0.25
STALL_SECONDS = 120.0
_LEAVE_SECONDS = IDLE_TIMEOUT_SECONDS + 30.0
_ENDED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True)
class Progress:
    """Where a run is, for the line that people look at."""

    seconds: float
    num_jobs: int
    counts: dict[JobStatus, int]
    num_workers: int
    num_faults: int
    num_all_faults: int
    num_active: int

    @property
    def ended(self) -> int:
        """How many jobs have ended."""
        return sum(self.counts[status] for status in _ENDED)


@dataclass(frozen=True)
class Outcome:
    """What a run leaves behind for the inspection, beside catalog, S3 and journals.

    Attributes:
        is_stalled: nothing ended any more for STALL_SECONDS, and the run was given up.
        stubborn: workers that did not end when there was nothing more to do.
        worker_ends: how often workers ended with each exit code or signal.
    """

    scenario: Scenario
    servers: ChaosServers
    customers: Customers
    injected: tuple[Injected, ...]
    skipped: tuple[Event, ...]
    worker_ends: dict[str, int]
    seconds: float
    is_stalled: bool
    stubborn: tuple[str, ...]


class Run:
    """One run of a scenario on running servers."""

    def __init__(
        self, scenario: Scenario, servers: ChaosServers, on_progress: Callable[[Progress], None]
    ) -> None:
        self._scenario = scenario
        self._servers = servers
        self._on_progress = on_progress
        self._engine = create_catalog_engine(servers.database_url, application_name="chaos")
        self._customers = Customers(self._engine)
        self._dispatcher = Dispatcher(servers, self._engine)
        self._injector = Injector(servers, self._dispatcher)
        self._waves: list[Wave] = list(scenario.waves)
        self._events: list[Event] = list(scenario.events)
        self._counts = dict.fromkeys(JobStatus, 0)
        self._started = self._moved = time.monotonic()

    def to_the_end(self) -> Outcome:
        """Run until every job has ended and every worker has left."""
        is_stalled, stubborn = False, list[str]()
        try:
            self._customers.join()
            while not self._is_over() and not is_stalled:
                self._tick()
                is_stalled = time.monotonic() - self._moved > STALL_SECONDS
            self._wait(lambda: not self._dispatcher.running(), _LEAVE_SECONDS)
            stubborn = [worker.owner for worker in self._dispatcher.running()]
        finally:
            self._injector.stop()
            self._dispatcher.kill_all()
            self._engine.dispose()
        return Outcome(
            scenario=self._scenario,
            servers=self._servers,
            customers=self._customers,
            injected=tuple(self._injector.injected),
            skipped=tuple(self._injector.skipped),
            worker_ends=dict(self._dispatcher.ends),
            seconds=time.monotonic() - self._started,
            is_stalled=is_stalled,
            stubborn=tuple(stubborn),
        )

    def _tick(self) -> None:
        self._count()
        ended = self._ended()
        while self._waves and self._waves[0].after_ended <= ended:
            if not self._customers.submit(self._waves[0].submissions):
                break
            del self._waves[0]
        while self._events and self._events[0].after_ended <= ended:
            event = self._events[0]
            if event.action in {Action.SUBMIT_AGAIN, Action.CANCEL}:
                if not self._customers.act(event):
                    break
            else:
                self._injector.inject(event)
            del self._events[0]
        self._dispatcher.tick()
        self._tell()
        time.sleep(TICK_SECONDS)

    def _count(self) -> None:
        try:
            with transaction(self._engine) as session:
                counts = job_queue.count_by_status(session)
        except TransientError:
            return
        if counts != self._counts:
            self._counts, self._moved = counts, time.monotonic()

    def _ended(self) -> int:
        return sum(self._counts[status] for status in _ENDED)

    def _is_over(self) -> bool:
        is_calm = not self._waves and not self._events and self._injector.active() == 0
        return is_calm and self._ended() >= len(self._scenario.submissions)

    def _wait(self, is_true: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not is_true() and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)

    def _tell(self) -> None:
        num_events = len(self._scenario.events)
        self._on_progress(
            Progress(
                seconds=time.monotonic() - self._started,
                num_jobs=len(self._scenario.submissions),
                counts=self._counts,
                num_workers=len(self._dispatcher.running()),
                num_faults=num_events - len(self._events),
                num_all_faults=num_events,
                num_active=self._injector.active(),
            )
        )


@contextmanager
def running_scenario(
    scenario: Scenario, on_progress: Callable[[Progress], None] = lambda _: None
) -> Iterator[Outcome]:
    """Run a scenario on servers of its own, which run until the end of the block.

    Their folder, with all logs, is removed unless the block raises.
    """
    # Not pytest's own folder: under root PostgreSQL is another user, who cannot enter that.
    folder = Path(tempfile.mkdtemp(prefix="influencerai-chaos-"))
    with chaos_servers(folder) as servers:
        yield Run(scenario, servers, on_progress).to_the_end()
    shutil.rmtree(folder, ignore_errors=True)

"""Start runs for jobs as soon as they are in the table, in a thread of the web server.

The web server is the process that launches runs, so nothing else has to be there. A notification of
PostgreSQL says that jobs were inserted, by whatever program. The queue is also read every few
seconds: a notification may get lost, and jobs become claimable without one, as after a backoff.
What gets a run is decided as in a tick of `pending_jobs_sensor`, which does it alone while no web
server runs. Several web servers may do this at once: ensure_run launches one run.
"""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus

import dagster as dg
import httpx
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_graphql.schema import create_schema
from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.dagster_client.ensure_run import ensure_run
from influencerai_dagster.db.notifications import SUBMITTED, Listener
from influencerai_dagster.errors import InfluencerAIError
from influencerai_dagster.orchestration.generation.pending_jobs_sensor import (
    decide,
    read_queue,
    sweep,
)
from influencerai_dagster.settings import Settings
from influencerai_dagster.wiring.stores import catalog_engine

LOOK_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 1.0
"""When a tenant-day with jobs has no worker: its run may be about to end, or in the queue."""
_PAUSE_SECONDS = 0.25
"""Between two looks at the queue, so that many submissions at once are one look."""
_RECONNECT_SECONDS = 2.0
_JOIN_SECONDS = 2.0
_log = logging.getLogger(__name__)


class RunStarter:
    """Starts runs for the jobs that can be claimed, until it is stopped.

    Args:
        engine: of the catalog.
        instance: of Dagster.
        dagster: launches runs.
        look_seconds: between two looks at the queue without a notification.
    """

    def __init__(
        self,
        engine: Engine,
        instance: dg.DagsterInstance,
        dagster: DagsterGraphQL,
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._engine = engine
        self._instance = instance
        self._dagster = dagster
        self._look_seconds = look_seconds
        self._stopping = threading.Event()
        self._swept_at = 0.0  # of time.monotonic()
        self._look_again_seconds = _LOOK_AGAIN_SECONDS
        self._problem: str | None = None

    def run(self) -> None:
        """Start runs until `stop`; every failure is logged once, and tried again."""
        while not self._stopping.is_set():
            try:
                with Listener(self._engine) as listener:
                    while not self._stopping.is_set():
                        listener.check()
                        next_look = time.monotonic() + self._look()
                        self._stopping.wait(_PAUSE_SECONDS)
                        self._wait(listener, next_look)
            except Exception as error:  # noqa: BLE001 - nothing else would restart this thread
                self._note(f"{type(error).__name__}: {error}")
                self._stopping.wait(_RECONNECT_SECONDS)

    def stop(self) -> None:
        """Ask the thread to end; it may be in the middle of a launch, which then completes."""
        self._stopping.set()

    def _look(self) -> float:
        """Start the runs that are missing; return after how many seconds to look again."""
        if time.monotonic() - self._swept_at >= self._look_seconds:
            sweep(self._engine)
            self._swept_at = time.monotonic()
        snapshot = read_queue(self._instance, self._engine)
        problem = None
        for (kind, day), priority in decide(snapshot, time.time()).chosen.items():
            try:
                ensure_run(self._dagster, self._engine, kind, day, priority=priority)
            except InfluencerAIError as error:
                problem = f"{kind}s of {day}: {error}"
        self._note(problem)
        return self._look_seconds if snapshot.is_all_rendered else self._look_again()

    def _look_again(self) -> float:
        """Return 1 s, then twice as long at every further look, at most look_seconds."""
        seconds = self._look_again_seconds
        self._look_again_seconds = min(2 * seconds, self._look_seconds)
        return seconds

    def _wait(self, listener: Listener, until: float) -> None:
        """Wait for inserted jobs, or for the next look; other notifications are for workers."""
        while not self._stopping.is_set() and (seconds := until - time.monotonic()) > 0:
            if SUBMITTED in listener.wait(min(seconds, _LOOK_AGAIN_SECONDS)):
                self._look_again_seconds = _LOOK_AGAIN_SECONDS
                return

    def _note(self, problem: str | None) -> None:
        if problem is not None and self._problem is None:
            _log.warning(
                "Starting runs for submitted jobs failed, and is tried again until it succeeds; "
                "meanwhile pending_jobs_sensor starts them: %s",
                problem,
            )
        elif problem is None and self._problem is not None:
            _log.warning("Starting runs for submitted jobs works again.")
        self._problem = problem


class OwnGraphQL(httpx.BaseTransport):
    """Answers GraphQL requests in this process: no port, no password, no server that is ready."""

    def __init__(self, context: WorkspaceProcessContext) -> None:
        """Answer with what a workspace has."""
        self._context = context
        self._schema = create_schema()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Execute the query of a request."""
        asked = json.loads(request.read())
        result = asyncio.run(
            self._schema.execute_async(
                asked["query"],
                variable_values=asked["variables"],
                context_value=self._context.create_request_context(),
            )
        )
        return httpx.Response(HTTPStatus.OK, json=result.formatted)


@contextmanager
def running_starter(settings: Settings, context: WorkspaceProcessContext) -> Iterator[None]:
    """Start runs in a thread for the time of the block.

    Args:
        settings: DATABASE_URL.
        context: the workspace and the instance of the web server.
    """
    engine = catalog_engine(settings)
    with closing(
        DagsterGraphQL("http://localhost", CODE_LOCATION, transport=OwnGraphQL(context))
    ) as dagster:
        starter = RunStarter(engine, context.instance, dagster)
        thread = threading.Thread(target=starter.run, name="run-starter", daemon=True)
        thread.start()
        try:
            yield
        finally:
            starter.stop()
            thread.join(_JOIN_SECONDS)
    engine.dispose()

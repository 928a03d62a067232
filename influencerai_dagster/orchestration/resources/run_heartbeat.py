"""Send the heartbeat of one run: a thread that writes to PostgreSQL every 5 s.

The rows are in db/run_heartbeats.py; orchestration/resources/catalog.py starts a heartbeat for
every run, and orchestration/runs/stale_runs_sensor.py ends runs without one.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from influencerai_dagster.core.dagster_names import PARTITION_TAG
from influencerai_dagster.core.run_health import BEAT_SECONDS
from influencerai_dagster.db import run_heartbeats
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.run_heartbeats import Activity
from influencerai_dagster.errors import InfluencerAIError

_JOIN_SECONDS = 2.0
_log = logging.getLogger(__name__)


class RunHeartbeat:
    """Sends heartbeats from `start` to `stop`; retries while PostgreSQL is unavailable.

    When the run was ended meanwhile (it had stalled, or is over in Dagster), the main thread gets
    SIGINT, as from Dagster itself when it terminates a run.
    """

    def __init__(
        self, database_url: str, run: dg.DagsterRun, *, every_seconds: float = BEAT_SECONDS
    ) -> None:
        """Make it; nothing is connected or started.

        Args:
            database_url: `postgresql://…`, of the catalog.
            run: the run of this process.
            every_seconds: between two heartbeats.
        """
        self._run_id = run.run_id
        self._every_seconds = every_seconds
        self._activity = Activity(describe(run))
        # An engine of its own: renders may use all connections of the run's engine.
        self._engine = create_catalog_engine(database_url, application_name="influencerai-beat")
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="run-heartbeat", daemon=True)

    def start(self) -> None:
        """Send the first heartbeat, then one every few seconds."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending; the row stays until the run has ended in Dagster."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(_JOIN_SECONDS)

    @contextmanager
    def doing(self, activity: Activity) -> Iterator[None]:
        """Write in the heartbeat what the run does for the duration of the block."""
        before = self._activity
        self._activity = activity
        self._wake.set()
        try:
            yield
        finally:
            self._activity = before
            self._wake.set()

    def _beat(self) -> None:
        is_known = False
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                with transaction(self._engine) as session:
                    if not is_known:
                        run_heartbeats.first_beat(
                            session, self._run_id, self._activity, host=_host()
                        )
                    is_alive = run_heartbeats.beat(session, self._run_id, self._activity)
            except InfluencerAIError as error:
                _log.warning("run %s could not send its heartbeat: %s", self._run_id, error)
            else:
                is_known = True
                if not is_alive:
                    self._stop_the_run()
                    break
            self._wake.wait(self._every_seconds)
        self._engine.dispose()

    def _stop_the_run(self) -> None:
        if self._stopping.is_set():
            return
        _log.error("run %s was ended because it had stalled: its process stops", self._run_id)
        main = threading.main_thread().ident
        if main is not None:
            signal.pthread_kill(main, signal.SIGINT)


def describe(run: dg.DagsterRun) -> str:
    """Return what a run does, for people: "generate_images_job demo/2026-11-23"."""
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    name = run.job_name if not run.job_name.startswith("__") else ", ".join(assets) or "checks"
    return f"{name} {run.tags.get(PARTITION_TAG, '')}".rstrip()


def _host() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"

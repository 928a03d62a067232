"""Renew the leases of running jobs, and notify the worker when the job queue changed.

The worker lives in generation/worker/worker.py.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.notifications import CANCELLED
from influencerai_dagster.errors import InfluencerAIError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import HeldLease, Listener

_LISTEN_SECONDS = 0.25
_RECONNECT_SECONDS = 2.0

_log = logging.getLogger(__name__)


@dataclass
class LeaseRenewer:
    """Renews leases and receives notifications in two threads, inside its `with` block.

    Attributes:
        engine: of the catalog.
        held: returns the claims of the running jobs.
        lease_seconds: how long a lease is valid after each heartbeat.
        recheck: set when jobs were submitted or slots are free.
        on_cancelled: called for every held job that was cancelled, until it is no longer held.
        beat_seconds: between two heartbeats, at most a quarter of lease_seconds.
    """

    engine: Engine
    held: Callable[[], Mapping[UUID, HeldLease]]
    lease_seconds: float
    recheck: threading.Event
    on_cancelled: Callable[[UUID], None]
    beat_seconds: float = 3.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _beat_now: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for work in (self._renew, self._listen):
            self._threads.append(threading.Thread(target=work, name=work.__name__, daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._beat_now.set()
        for thread in self._threads:
            thread.join()

    def _renew(self) -> None:
        while not self._stop.is_set():
            self._beat_now.wait(min(self.beat_seconds, self.lease_seconds / 4))
            self._beat_now.clear()
            try:
                with transaction(self.engine) as session:
                    ended = job_queue.renew_leases(session, self.held(), self.lease_seconds)
                for job_id, status in ended.items():
                    if status is JobStatus.CANCELLED:
                        self.on_cancelled(job_id)
            except InfluencerAIError as error:
                # PostgreSQL may be away for a moment: a lease outlives many missed heartbeats.
                _log.info("leases were not renewed, trying again: %s", error)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with Listener(self.engine) as listener:
                    self.recheck.set()  # a notification may have come while no connection listened
                    self._on_notify(listener)
            except InfluencerAIError:
                self._stop.wait(_RECONNECT_SECONDS)  # the worker polls meanwhile

    def _on_notify(self, listener: Listener) -> None:
        while not self._stop.is_set():
            heard = listener.wait(_LISTEN_SECONDS)
            if heard:
                self.recheck.set()
            if CANCELLED in heard:
                self._beat_now.set()

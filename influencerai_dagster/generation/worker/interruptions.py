"""Stops renders on their servers without waiting for them: a server may be silent for long.

Which are to be stopped is decided in generation/worker/worker.py.
"""

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Self
from uuid import UUID

from influencerai_dagster.generation.render.session import RenderSession

_NUM_THREADS = 8


class Interrupter:
    """Interrupts renders in threads of its own, one try at a time for each job."""

    def __init__(self, render_session: RenderSession) -> None:
        self._render_session = render_session
        self._pool = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="interrupt")
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

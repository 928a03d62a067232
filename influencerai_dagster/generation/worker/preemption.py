"""Whether a worker gets a place, and how long it keeps it while other runs wait for it.

Places are the slots of Dagster's pools; how jobs are shared out among those who have one is in
generation/queue/scheduling.py.
"""

import time
from contextlib import suppress

from sqlalchemy import Engine

from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import WorkerRegistration
from influencerai_dagster.generation.worker.options import WorkerOptions

_ASK_SECONDS = 5.0
_LOOK_SECONDS = 0.25


def is_already_served(engine: Engine, place: WorkerRegistration) -> bool:
    """Look whether another run came first: it renders what this one was started for.

    One that was killed a moment ago looks alive for a few seconds, so that this may take as long.
    """
    deadline = time.monotonic() + job_queue.LIVE_SECONDS + 4 * _LOOK_SECONDS
    with suppress(TransientError):
        while time.monotonic() < deadline:
            with transaction(engine) as session:
                if not job_queue.has_earlier_worker(session, place):
                    return False
            time.sleep(_LOOK_SECONDS)
        return True
    return False


class TimeSlice:
    """The turn of one worker; it begins when this is made."""

    def __init__(self, engine: Engine, place: WorkerRegistration, options: WorkerOptions) -> None:
        """Begin.

        Args:
            engine: of the catalog.
            place: whose turn it is.
            options: its slice, its longest time, and who tells how many wait.
        """
        self._engine = engine
        self._place = place
        self._options = options
        self._started = time.monotonic()
        self._asked_at = 0.0

    def is_over(self, *, is_idle: bool) -> bool:
        """Tell whether to claim no more: runs wait for this place, and it had its time.

        Args:
            is_idle: nothing renders, and has not for a moment; the slice need not be over then.
        """
        now = time.monotonic()
        if now - self._asked_at < _ASK_SECONDS:
            return False
        self._asked_at = now
        if now - self._started >= self._options.longest_seconds:
            return True
        num_waiting = self._options.num_waiting()
        if not num_waiting or not (
            is_idle or now - self._started >= self._options.time_slice_seconds
        ):
            return False
        with suppress(TransientError), transaction(self._engine) as session:
            # As many give way as wait, those first whose tenants had the most.
            is_first = job_queue.num_workers_with_more(session, self._place) < num_waiting
            return is_idle or is_first
        return False

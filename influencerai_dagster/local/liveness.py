"""Ask the services of a stack whether they are alive, in a thread each.

A process that exists may be frozen, or hang. supervisor.py restarts one that does not answer for
too long.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_LONGEST_STEP_SECONDS = 1.0
"""After a longer time between two looks this process itself slept: no answer could arrive."""

_log = logging.getLogger(__name__)


@dataclass
class _Heard:
    is_alive: Callable[[], bool]
    limit_seconds: float
    silent_seconds: float = 0.0
    extra_seconds: float = 0.0
    answered: threading.Event = field(default_factory=threading.Event)


class Liveness:
    """Asks every service whether it is alive, again and again.

    Only time in which this process itself ran is counted: a machine that slept, and a stack that
    was frozen as a whole, make no service late.

    Args:
        stopping: ends the threads.
        every_seconds: between two questions to one service.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        stopping: threading.Event,
        *,
        every_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stopping = stopping
        self._every_seconds = every_seconds
        self._heard: dict[str, _Heard] = {}
        self._clock = clock
        self._looked_at = clock()

    def watch(self, name: str, is_alive: Callable[[], bool], limit_seconds: float) -> None:
        """Begin to ask a service, which is ready.

        Args:
            name: of the service.
            is_alive: may block; also true where it is not known.
            limit_seconds: how long it may give no answer.
        """
        self._heard[name] = heard = _Heard(is_alive, limit_seconds)
        threading.Thread(target=self._ask, args=[heard], name=f"alive-{name}", daemon=True).start()

    def started_again(self, name: str, start_seconds: float) -> None:
        """Give a restarted service the time for its start."""
        if name in self._heard:
            heard = self._heard[name]
            heard.silent_seconds, heard.extra_seconds = 0.0, start_seconds

    def stalled(self) -> Iterable[tuple[str, float]]:
        """Return the services without an answer for too long, with the seconds; called often."""
        now = self._clock()
        step = min(now - self._looked_at, _LONGEST_STEP_SECONDS)
        self._looked_at = now
        for name, heard in self._heard.items():
            if heard.answered.is_set():
                heard.answered.clear()
                heard.silent_seconds, heard.extra_seconds = 0.0, 0.0
            heard.silent_seconds += step
            if heard.silent_seconds > heard.limit_seconds + heard.extra_seconds:
                yield name, heard.silent_seconds

    def _ask(self, heard: _Heard) -> None:
        while not self._stopping.wait(self._every_seconds):
            try:
                if heard.is_alive():
                    heard.answered.set()
            except Exception as error:  # noqa: BLE001 - a question that fails has no answer
                _log.warning("a service could not be asked whether it is alive: %s", error)

"""One ComfyUI server: its client, the event of its runs, and whether it can be used.

A thread looks after it every second or two. Which server runs what is the business of
server_pool.py's callers. Source: docs/protocols/comfyui.md, point 2.
"""

import logging
import threading
import time
from dataclasses import dataclass

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.event_dispatcher import EventDispatcher
from influencerai_dagster.engines.comfyui.object_info import ObjectInfo
from influencerai_dagster.engines.comfyui.rejections import UnfitServerError
from influencerai_dagster.engines.comfyui.validation import validate_workflow
from influencerai_dagster.engines.comfyui.values import (
    HistoryEntry,
    QueueState,
    SystemStats,
    Workflow,
)
from influencerai_dagster.engines.comfyui.waiting import locate
from influencerai_dagster.errors import InfluencerAIError

PROBE_SECONDS = 2.0
HUNG_SECONDS = 10.0
"""So long a server may have prompts waiting and execute none."""

STUCK_SECONDS = 330.0
"""So long a server may execute one prompt, whoever sent it, before new ones go elsewhere."""

INFO_SECONDS = 300.0
"""So long it is believed that a server has the node classes and files that it had."""

_PROBE_TIMEOUT_SECONDS = 5.0
_AGAIN_SECONDS = 0.5
_MAX_FAILED_PROBES = 2
_FIRST_REST_SECONDS, _LONGEST_REST_SECONDS = 30.0, 600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerState:
    """How a server was at its last look.

    Attributes:
        url: without credentials.
        problem: why it is not used now; None if it is.
        queue_length: prompts that run or wait there, whoever sent them.
    """

    url: str
    problem: str | None
    queue_length: int


class Server:
    """One server: its client, the event of its runs and its health.

    Attributes:
        client: talks to it.
        dispatcher: tells its runs what happens.
        was_asked: set after the first look.
    """

    def __init__(
        self,
        base_url: str,
        *,
        hung_seconds: float,
        stuck_seconds: float,
        info_seconds: float = INFO_SECONDS,
    ) -> None:
        self.client = ComfyUIClient(base_url)
        self.dispatcher = EventDispatcher(self.client.connection, self._note_lost_socket)
        self._prober = ComfyUIClient(base_url, timeout_seconds=_PROBE_TIMEOUT_SECONDS)
        self._hung_seconds = hung_seconds
        self._stuck_seconds = stuck_seconds
        self._info_seconds = info_seconds
        self._look = threading.Event()
        self.was_asked = threading.Event()
        self._is_closed = False
        self._problem: str | None = "it was not asked yet"
        self._queue_length = 0
        self._stats: SystemStats | None = None
        self._object_info: ObjectInfo | None = None
        self._object_info_at = 0.0
        self._asking = threading.Lock()
        self._failed_probes = 0
        self._head: tuple[str, bool] | None = None
        self._head_since = 0.0
        self._rest_until = 0.0
        self._rest_seconds = _FIRST_REST_SECONDS

    @property
    def url(self) -> str:
        """Its address without credentials."""
        return self.client.url

    @property
    def state(self) -> ServerState:
        """How it was at the last look."""
        return ServerState(self.url, self._problem, self._queue_length)

    @property
    def stats(self) -> SystemStats:
        """Version and memory, as of the last look."""
        return self._stats or self.client.system_stats()

    def object_info(self, *, is_fresh: bool = False) -> ObjectInfo:
        """Return its node classes, asked anew if `is_fresh`, after a while, or it was away."""
        asked_at = time.monotonic()
        with self._asking:  # of many threads one asks; the answer may be megabytes
            known = self._object_info
            is_old = asked_at - self._object_info_at > self._info_seconds
            if known is None or is_old or (is_fresh and self._object_info_at < asked_at):
                self._object_info_at = time.monotonic()
                known = self._object_info = self.client.object_info()
        return known

    def check(self, workflow: Workflow) -> None:
        """Validate a workflow; what its node classes lack is looked for once more, fresh.

        Raises:
            UnfitServerError: it cannot run there.
        """
        try:
            validate_workflow(workflow, self.object_info())
        except UnfitServerError:
            # A model file may have been placed since.
            validate_workflow(workflow, self.object_info(is_fresh=True))

    def watch(self) -> None:
        """Look after it until `close`."""
        while not self._is_closed:
            try:
                self.probe()
            except Exception:  # noqa: BLE001 - nobody else would look after this server again
                _log.exception("ComfyUI at %s could not be looked at", self.url)
                self._set_problem("it could not be looked at; the log has the reason")
            self.was_asked.set()
            is_sure = self._failed_probes in {0, _MAX_FAILED_PROBES}
            self._look.wait(PROBE_SECONDS if is_sure else _AGAIN_SECONDS)
            self._look.clear()

    def look_soon(self) -> None:
        """Look at it now: something went wrong with it."""
        self._look.set()

    def locate(self, prompt_id: str) -> HistoryEntry | QueueState | None:
        """Say where a prompt is, within seconds; see `waiting.locate`."""
        return locate(self._prober, prompt_id)

    def close(self) -> None:
        """Stop looking and end the socket; runs that still wait get an error."""
        self._is_closed = True
        self._look.set()
        self.dispatcher.close()
        self.client.close()
        self._prober.close()

    def probe(self) -> None:
        """Ask it how it is."""
        try:
            self._stats = self._prober.system_stats()
            queue = self._prober.queue()
        except InfluencerAIError as error:
            self._failed_probes = min(self._failed_probes + 1, _MAX_FAILED_PROBES)
            if self._failed_probes == _MAX_FAILED_PROBES or self._stats is None:
                self._take_out(f"it does not answer: {error}")
                self._expect_restart()
            return
        self._failed_probes = 0
        self._queue_length = len(queue.running) + len(queue.pending)
        head_seconds = self._seconds_of_head(queue)
        if queue.running and head_seconds >= self._stuck_seconds:
            self._take_out(
                f"it has executed prompt {queue.running[0].prompt_id} for {head_seconds:.0f} s; it "
                "is used again when that ends"
            )
        elif not queue.running and head_seconds >= self._hung_seconds:
            self._take_out(
                f"it executes nothing though {len(queue.pending)} prompts wait: its worker thread "
                "is dead. Restart that server"
            )
            # Nothing but new prompts can tell whether it works again.
            self._head, self._rest_until = None, time.monotonic() + self._rest_seconds
            self._rest_seconds = min(2 * self._rest_seconds, _LONGEST_REST_SECONDS)
        elif queue.running or time.monotonic() >= self._rest_until:
            self._set_problem(None)
        if queue.running:
            self._rest_until, self._rest_seconds = 0.0, _FIRST_REST_SECONDS

    def _expect_restart(self) -> None:
        """It may come back as another version, with other models, and a worker that works."""
        self._object_info, self._rest_until = None, 0.0

    def _note_lost_socket(self) -> None:
        self._expect_restart()
        self.look_soon()

    def _seconds_of_head(self, queue: QueueState) -> float:
        """Return how long the same prompt has been the running one, or the first that waits."""
        prompts = queue.running or queue.pending
        head = (prompts[0].prompt_id, bool(queue.running)) if prompts else None
        now = time.monotonic()
        if head is None or head != self._head:
            self._head, self._head_since = head, now
        return now - self._head_since

    def _take_out(self, problem: str) -> None:
        """Send it nothing more; what waits there and has not begun goes elsewhere."""
        self._set_problem(problem)
        self.dispatcher.abandon(f"ComfyUI at {self.url} is not used: {problem}.")

    def _set_problem(self, problem: str | None) -> None:
        if (problem is None) != (self._problem is None):
            _log.warning("ComfyUI at %s: %s", self.url, problem or "it is used")
        self._problem = problem

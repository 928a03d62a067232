"""Hold one ComfyUI server: its client, the events of its runs, and its health.

A thread probes it every second or two. The caller of server_pool.py chooses which server renders
what. Source: docs/protocols/comfyui.md, point 2.
"""

import logging
import threading
import time
from dataclasses import dataclass
from enum import StrEnum

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.event_dispatcher import EventDispatcher
from influencerai_dagster.engines.comfyui.object_info import ObjectInfo
from influencerai_dagster.engines.comfyui.rejections import UnfitServerError
from influencerai_dagster.engines.comfyui.runs import run_workflow
from influencerai_dagster.engines.comfyui.validation import validate_workflow
from influencerai_dagster.engines.comfyui.values import (
    HistoryEntry,
    QueueState,
    RenderRequest,
    RenderResult,
    SystemStats,
    Workflow,
)
from influencerai_dagster.engines.comfyui.waiting import locate
from influencerai_dagster.errors import InfluencerAIError, TransientError

_PROBE_TIMEOUT_SECONDS = 5.0
_MAX_FAILED_PROBES = 2
_FIRST_REST_SECONDS, _LONGEST_REST_SECONDS = 30.0, 600.0

_log = logging.getLogger(__name__)


class ServerHealth(StrEnum):
    """Whether a server can be used, as of its last probe.

    ```text
    UNKNOWN ─ answers ─→ HEALTHY ─ one probe fails ─→ SUSPECT ─ the next one too ─→ AWAY
                          │  ↑                           │                          │
                          │  └───────── answers ─────────┴──────────────────────────┘
                          ├─ one prompt runs for stuck_seconds ─→ STUCK ─ it ends ─→ HEALTHY
                          └─ prompts wait for hung_seconds and none runs ─→ HUNG
    HUNG ─ a prompt runs, or the rest after it has passed ─→ HEALTHY
    ```

    A probe that fails leads from STUCK and HUNG to AWAY at the second time, too; UNKNOWN becomes
    AWAY at the first. Only new prompts can show that a HUNG server works again, so it is HEALTHY
    again after a rest, which doubles each time that it hangs without having run a prompt.
    """

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    SUSPECT = "suspect"
    AWAY = "away"
    STUCK = "stuck"
    HUNG = "hung"

    @property
    def is_usable(self) -> bool:
        """Whether prompts may be sent to the server."""
        return self in {ServerHealth.HEALTHY, ServerHealth.SUSPECT}


@dataclass(frozen=True)
class ServerState:
    """A server as of its last probe.

    Attributes:
        url: without credentials.
        problem: why it is not used now; None if it is.
        queue_length: prompts that run or wait there, whoever sent them.
    """

    url: str
    health: ServerHealth
    problem: str | None
    queue_length: int


@dataclass(frozen=True)
class ServerTimes:
    """When a server is probed, and when it counts as broken.

    Attributes:
        hung_seconds: so long it may have prompts waiting and execute none.
        stuck_seconds: so long it may execute one prompt, whoever sent it; longer than renders may
            take.
        probe_seconds: between two probes.
        recheck_seconds: between a probe that failed and the next one.
        info_seconds: so long its node classes and files are taken as unchanged.
    """

    hung_seconds: float = 10.0
    stuck_seconds: float = 330.0
    probe_seconds: float = 2.0
    recheck_seconds: float = 0.5
    info_seconds: float = 300.0


class Server:
    """One server: its client, the events of its runs and its health.

    Args:
        base_url: its address, with credentials where they are needed.
        times: when it is probed, and when it counts as broken.

    Attributes:
        client: sends its requests.
        dispatcher: has the events of its runs.
        was_probed: set after the first probe.
    """

    def __init__(self, base_url: str, times: ServerTimes) -> None:
        self.client = ComfyUIClient(base_url)
        self.dispatcher = EventDispatcher(self.client.connection, self._note_lost_socket)
        self._prober = ComfyUIClient(base_url, timeout_seconds=_PROBE_TIMEOUT_SECONDS)
        self._times = times
        self._probe_now = threading.Event()
        self.was_probed = threading.Event()
        self._is_closed = False
        self._health = ServerHealth.UNKNOWN
        self._problem: str | None = "it was not probed yet"
        self._num_failed_probes = 0
        self._queue_length = 0
        self._stats: SystemStats | None = None
        self._object_info: ObjectInfo | None = None
        self._object_info_at = 0.0
        self._object_info_lock = threading.Lock()
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
        """Health and queue as of the last probe."""
        return ServerState(self.url, self._health, self._problem, self._queue_length)

    @property
    def stats(self) -> SystemStats:
        """Version and memory as of the last probe."""
        return self._stats or self.client.system_stats()

    def object_info(self, *, is_fresh: bool = False) -> ObjectInfo:
        """Return its node classes: cached ones for a while, unless `is_fresh` or it was away."""
        asked_at = time.monotonic()
        with self._object_info_lock:  # of many threads one asks; the answer may be megabytes
            known = self._object_info
            is_old = asked_at - self._object_info_at > self._times.info_seconds
            if known is None or is_old or (is_fresh and self._object_info_at < asked_at):
                self._object_info_at = time.monotonic()
                known = self._object_info = self.client.object_info()
        return known

    def check(self, workflow: Workflow) -> None:
        """Validate a workflow against cached node classes, and if it fails against fresh ones.

        Raises:
            UnfitServerError: it cannot run there.
        """
        try:
            validate_workflow(workflow, self.object_info())
        except UnfitServerError:
            # A model file may have been installed since.
            validate_workflow(workflow, self.object_info(is_fresh=True))

    def run(self, request: RenderRequest) -> RenderResult:
        """Render a workflow, see `run_workflow`; after a TransientError the server is probed."""
        try:
            return run_workflow(self.client, self.dispatcher, request)
        except TransientError:
            self.probe_soon()
            raise

    def cancel(self, prompt_id: str) -> None:
        """Take a prompt off the server, whether it waits or runs; its run here ends at once."""
        self.client.cancel(prompt_id)
        self.dispatcher.recheck(prompt_id)

    def locate(self, prompt_id: str) -> HistoryEntry | QueueState | None:
        """Find a prompt within seconds, see `waiting.locate`."""
        return locate(self._prober, prompt_id)

    def close(self) -> None:
        """End the probes and the socket; runs that still wait get an error."""
        self._is_closed = True
        self._probe_now.set()
        self.dispatcher.close()
        self.client.close()
        self._prober.close()

    def watch(self) -> None:
        """Probe the server until `close`."""
        while not self._is_closed:
            try:
                self.probe()
            except Exception:  # noqa: BLE001 - no other thread would probe this server again
                if self._is_closed:
                    break
                _log.exception("ComfyUI server %s could not be probed", self.url)
                self._set_health(ServerHealth.AWAY, "the probe failed; the log has the reason")
            self.was_probed.set()
            is_in_doubt = 0 < self._num_failed_probes < _MAX_FAILED_PROBES
            times = self._times
            self._probe_now.wait(times.recheck_seconds if is_in_doubt else times.probe_seconds)
            self._probe_now.clear()

    def probe_soon(self) -> None:
        """Probe it now, because something failed there."""
        self._probe_now.set()

    def probe(self) -> None:
        """Ask for version and queue, and set the health by the answer."""
        try:
            self._stats = self._prober.system_stats()
            queue = self._prober.queue()
        except InfluencerAIError as error:
            self._note_failure(error)
        else:
            self._num_failed_probes = 0
            self._queue_length = len(queue.running) + len(queue.pending)
            self._note_queue(queue)

    def _note_failure(self, error: InfluencerAIError) -> None:
        self._num_failed_probes = min(self._num_failed_probes + 1, _MAX_FAILED_PROBES)
        if self._num_failed_probes == _MAX_FAILED_PROBES or self._stats is None:
            self._mark_unhealthy(ServerHealth.AWAY, f"it does not answer: {error}")
            self._expect_restart()
        elif self._health is ServerHealth.HEALTHY:
            self._set_health(ServerHealth.SUSPECT, None)

    def _note_queue(self, queue: QueueState) -> None:
        head_seconds = self._seconds_of_head(queue)
        if queue.running:
            self._rest_until, self._rest_seconds = 0.0, _FIRST_REST_SECONDS
            if head_seconds >= self._times.stuck_seconds:
                self._mark_unhealthy(
                    ServerHealth.STUCK,
                    f"it has executed prompt {queue.running[0].prompt_id} for {head_seconds:.0f} "
                    "s; it is used again when that ends",
                )
                return
        elif head_seconds >= self._times.hung_seconds:
            self._mark_unhealthy(
                ServerHealth.HUNG,
                f"it executes nothing though {len(queue.pending)} prompts wait: its worker thread "
                "is dead. Restart that server",
            )
            self._head, self._rest_until = None, time.monotonic() + self._rest_seconds
            self._rest_seconds = min(2 * self._rest_seconds, _LONGEST_REST_SECONDS)
            return
        if time.monotonic() >= self._rest_until:
            self._set_health(ServerHealth.HEALTHY, None)

    def _seconds_of_head(self, queue: QueueState) -> float:
        """Return how long the same prompt has been the running one, or the first that waits."""
        prompts = queue.running or queue.pending
        head = (prompts[0].prompt_id, bool(queue.running)) if prompts else None
        now = time.monotonic()
        if head is None or head != self._head:
            self._head, self._head_since = head, now
        return now - self._head_since

    def _expect_restart(self) -> None:
        """Drop the cached node classes and the rest after a hang.

        A restarted server may have another version, other models and a worker thread that works.
        """
        self._object_info, self._rest_until = None, 0.0

    def _note_lost_socket(self) -> None:
        self._expect_restart()
        self.probe_soon()

    def _mark_unhealthy(self, health: ServerHealth, problem: str) -> None:
        """Send the server nothing more; its queued prompts that have not begun go to others."""
        self._set_health(health, problem)
        self.dispatcher.abandon(f"ComfyUI at {self.url} is not used: {problem}.")

    def _set_health(self, health: ServerHealth, problem: str | None) -> None:
        was_usable = self._health.is_usable
        self._health, self._problem = health, problem
        if health.is_usable and not was_usable:
            _log.warning("ComfyUI server %s is healthy", self.url)
        elif was_usable and not health.is_usable:
            _log.warning("ComfyUI server %s is %s: %s", self.url, health, problem)

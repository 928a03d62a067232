"""Wait for one submitted run to end, also while events stop or the server restarts.

The socket tells early, history tells the truth, and nothing is polled while events come. The whole
of a run lives in runs.py. Source: docs/protocols/comfyui.md, points 2, 9 to 11, 17 to 19 and 22.
"""

import math
import time
from dataclasses import replace
from enum import Enum, auto
from typing import Self

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.event_dispatcher import EventDispatcher, Subscription
from influencerai_dagster.engines.comfyui.progress_socket import (
    NodeProgress,
    PreviewImage,
    QueueChanged,
    Recheck,
    RunEnded,
    ServerEvent,
    ServerLost,
)
from influencerai_dagster.engines.comfyui.values import (
    HistoryEntry,
    QueueState,
    RenderProgress,
    RenderRequest,
)
from influencerai_dagster.errors import TransientError
from influencerai_dagster.retry import retry_transient

_RECONNECT_SECONDS = 10.0
_MAX_FAILED_READS = 3


class NeverStartedError(TransientError):
    """The server lost the prompt, or is unusable, before it executed any of it."""


class RunPhase(Enum):
    """How far a run is, and which of its events this process receives.

    ```text
    QUEUED ───── an event of the run ─────→ HEARD ←─┐
      │                                      │      │ an event of the run
      ├─ the queue shows that it runs ─→ UNHEARD ───┘
      │                                      │
      └─ the socket broke ─→ STATUS_ONLY ←───┴─ a whole silence passed while it ran
    ```

    HEARD and UNHEARD become STATUS_ONLY too when the socket breaks. A run that an earlier
    submission queued begins there.
    """

    QUEUED = auto()
    """Submitted under this process's client id; as far as is known, none of it ran."""
    UNHEARD = auto()
    """It runs, but no event of it came: it has just begun, or the socket is deaf."""
    HEARD = auto()
    """Its events come."""
    STATUS_ONLY = auto()
    """Another client id submitted it: only `status` comes, and each one is a reason to read."""


def locate(client: ComfyUIClient, prompt_id: str) -> HistoryEntry | QueueState | None:
    """Return a prompt's history entry, the whole queue if the prompt is in it, or None.

    History is read again after the queue: a run that ends between the two reads is in neither.
    """
    entry = client.history(prompt_id)
    if entry is not None:
        return entry
    queue = client.queue()
    if queue.is_running(prompt_id) or queue.is_pending(prompt_id):
        return queue
    return client.history(prompt_id)


class RunWatch:
    """Watches one prompt until it ends; ends its subscription as a context manager.

    Args:
        client: of the server that runs it.
        dispatcher: of the same server's events.
        request: the run.
        phase: QUEUED if it is submitted next, STATUS_ONLY if it was submitted before.

    Raises:
        NeverStartedError: the socket of events cannot be opened.
    """

    def __init__(
        self,
        client: ComfyUIClient,
        dispatcher: EventDispatcher,
        request: RenderRequest,
        phase: RunPhase,
    ) -> None:
        self._client = client
        self._dispatcher = dispatcher
        self._request = request
        self._phase = phase
        self._was_submitted_before = phase is RunPhase.STATUS_ONLY
        self._started: float | None = None
        self._next_read = time.monotonic() + request.silence_seconds
        self._num_failed_reads = 0
        self._idle_head: str | None = None
        self._idle_since = 0.0
        self._last_progress: RenderProgress | None = None
        try:
            self._subscription = self._subscribe()
        except TransientError as error:
            raise self._unless_started(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._subscription.close()

    @property
    def client_id(self) -> str:
        """The id to submit with, so that the events of the prompt come here."""
        return self._subscription.client_id

    def wait(self) -> HistoryEntry:
        """Return the history entry as soon as the run has ended, in whatever way.

        Raises:
            TransientError: the time limit passed, the server lost the prompt, executes nothing, or
                cannot be reached any more.
            NeverStartedError: such an error before any of the run was executed.
        """
        try:
            return self._wait()
        except TransientError as error:
            raise self._unless_started(error) from error

    def _wait(self) -> HistoryEntry:
        while True:
            if self._note(self._receive()):
                entry = self._read()
                if entry is not None:
                    return entry
            if time.monotonic() >= self._deadline():
                raise TransientError(
                    f"prompt {self._request.prompt_id} on ComfyUI at {self._client.url} did not "
                    "end within its time limit (COMFYUI_TIMEOUT); it is taken off the server. "
                    "Submit it again."
                )

    def _subscribe(self) -> Subscription:
        return self._dispatcher.subscribe(
            self._request.prompt_id, hears_status=self._phase is RunPhase.STATUS_ONLY
        )

    def _unless_started(self, error: TransientError) -> TransientError:
        is_known_to_wait = self._started is None and not self._was_submitted_before
        return NeverStartedError(str(error)) if is_known_to_wait else error

    def _deadline(self) -> float:
        return math.inf if self._started is None else self._started + self._request.timeout_seconds

    def _receive(self) -> ServerEvent | None:
        """Return the next event, or None when it is time to read history."""
        until = min(self._next_read, self._deadline())
        try:
            return self._subscription.receive(until - time.monotonic())
        except TransientError:
            self._reconnect()
            return None

    def _note(self, event: ServerEvent | None) -> bool:
        """Take note of an event; return whether history has to be read now."""
        match event:
            case None:
                return time.monotonic() >= self._next_read
            case ServerLost() if self._started is None:
                raise TransientError(event.reason)
            case ServerLost() | Recheck() | QueueChanged():
                return True
            case NodeProgress() | PreviewImage():
                self._report(event)
        self._note_start()
        if self._phase is not RunPhase.STATUS_ONLY:
            self._phase = RunPhase.HEARD
        self._next_read = time.monotonic() + self._request.silence_seconds
        return isinstance(event, RunEnded)

    def _note_start(self) -> None:
        if self._started is None:
            self._started = time.monotonic()

    def _report(self, event: NodeProgress | PreviewImage) -> None:
        """Call on_progress once for each step: servers send `progress` and `progress_state`."""
        report = self._request.on_progress
        if report is None:
            return
        last = self._last_progress
        if isinstance(event, PreviewImage):
            if last is not None:
                report(replace(last, preview_image=event.content))
            return
        node_class = str(self._request.workflow.get(event.node_id, {}).get("class_type", ""))
        step = RenderProgress(
            event.prompt_id, event.node_id, node_class, event.value, event.maximum
        )
        if step != last:
            self._last_progress = step
            report(step)

    def _read(self) -> HistoryEntry | None:
        """Read history and queue; raise TransientError if the prompt is lost or nothing runs."""
        was_silent = time.monotonic() >= self._next_read
        self._next_read = time.monotonic() + self._request.silence_seconds
        try:
            found = locate(self._client, self._request.prompt_id)
        except TransientError:
            self._num_failed_reads += 1
            if self._num_failed_reads >= _MAX_FAILED_READS:
                raise
            return None
        self._num_failed_reads = 0
        if isinstance(found, HistoryEntry):
            return found
        if found is None:
            raise TransientError(
                f"ComfyUI at {self._client.url} lost prompt {self._request.prompt_id}: it is "
                "neither in the queue nor in history. The server restarted, or someone cleared its "
                "queue. Submit it again."
            )
        self._check_worker(found)
        if found.is_running(self._request.prompt_id):
            self._note_start()
            if self._phase is RunPhase.QUEUED:
                self._phase = RunPhase.UNHEARD
            elif self._phase is RunPhase.UNHEARD and was_silent:
                self._reconnect()
        return None

    def _check_worker(self, queue: QueueState) -> None:
        """Raise if nothing ran for a whole silence while the same prompt was the first to wait."""
        if queue.running:
            self._idle_head = None
            return
        head, now = queue.pending[0].prompt_id, time.monotonic()
        if self._idle_head != head:
            self._idle_head, self._idle_since = head, now
        elif now - self._idle_since >= self._request.silence_seconds:
            raise TransientError(
                f"ComfyUI at {self._client.url} executes nothing though {len(queue.pending)} "
                "prompts wait: its worker thread is dead. Restart that server, then submit again."
            )

    def _reconnect(self) -> None:
        """Subscribe again: the events of the prompt no longer come, but every `status` does."""
        self._subscription.close()
        self._phase = RunPhase.STATUS_ONLY
        self._subscription = retry_transient(
            self._subscribe,
            retry_for_seconds=min(_RECONNECT_SECONDS, self._deadline() - time.monotonic()),
            first_pause_seconds=0.1,
            longest_pause_seconds=2.0,
        )
        self._next_read = time.monotonic()

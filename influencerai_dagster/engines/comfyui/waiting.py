"""Waiting for one submitted run to end.

Whether the socket talks, drops, goes deaf or the server restarts. The whole of a run lives in
runs.py. Source: docs/protocols/comfyui.md, points 2, 9 to 11, 17 to 19 and 22.
"""

import math
import time
from collections.abc import Callable
from typing import Self

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.progress import ProgressTeller, RenderProgress
from influencerai_dagster.engines.comfyui.progress_socket import (
    EventSource,
    NodeProgress,
    PreviewImage,
    QueueChanged,
    Recheck,
    RunEnded,
    ServerEvent,
    ServerLost,
)
from influencerai_dagster.engines.comfyui.values import HistoryEntry, QueueState, Workflow
from influencerai_dagster.errors import TransientError
from influencerai_dagster.retry import retry_transient

_RECONNECT_SECONDS = 10.0
_MAX_FAILED_CHECKS = 3


def locate(client: ComfyUIClient, prompt_id: str) -> HistoryEntry | QueueState | None:
    """Say where a prompt is: finished, in the queue (the whole queue is returned), or nowhere.

    History is read again after the queue: a run that ends between the two reads is in neither.
    """
    entry = client.history(prompt_id)
    if entry is not None:
        return entry
    queue = client.queue()
    if queue.is_running(prompt_id) or queue.is_pending(prompt_id):
        return queue
    return client.history(prompt_id)


class NeverStartedError(TransientError):
    """The server lost the prompt, or is unusable, before it executed any of it."""


class RunWatch:
    """Watches one prompt until it ends; closes its socket as a context manager.

    Args:
        client: the server that runs it.
        workflow: what was submitted, for the classes of its nodes.
        prompt_id: the prompt.
        open_events: opens a socket for this run or a share of one, told whether the run is a
            foreign prompt; called again when it fails.
        timeout_seconds: limit of the execution; the time in the server's queue is not counted.
        silence_seconds: after this long without event of this prompt, history and queue are asked.
        is_foreign_prompt: another client id submitted the prompt, so that only `status` reaches
        this
            socket, and every `status` is a reason to look.
        on_progress: called for every step.
    """

    def __init__(
        self,
        client: ComfyUIClient,
        workflow: Workflow,
        *,
        prompt_id: str,
        open_events: Callable[[bool], EventSource],
        timeout_seconds: float,
        silence_seconds: float,
        is_foreign_prompt: bool,
        on_progress: Callable[[RenderProgress], None] | None,
    ) -> None:
        self._client = client
        self._prompt_id = prompt_id
        self._open_events = open_events
        self._socket = self._first_socket(is_foreign_prompt=is_foreign_prompt)
        self._timeout_seconds = timeout_seconds
        self._started: float | None = None
        self._silence_seconds = silence_seconds
        self._is_foreign_prompt = self._is_adopted = is_foreign_prompt
        self._progress = ProgressTeller(workflow, on_progress) if on_progress else None
        self._next_check = time.monotonic() + silence_seconds
        self._ran_at_last_look = self._was_heard = False
        self._failed_checks = 0
        self._num_prompts = 0
        self._idle_head: str | None = None
        self._idle_since = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def client_id(self) -> str:
        """The id to submit with, so that this socket hears of the prompt."""
        return self._socket.client_id

    def wait(self) -> HistoryEntry:
        """Return the history entry as soon as the run has ended, in whatever way.

        Raises:
            NeverStartedError: the same as below, before anything was heard of its execution.
            TransientError: the time limit passed, the server lost the prompt, executes nothing, or
                cannot be reached any more.
        """
        try:
            return self._wait()
        except TransientError as error:
            if self._started is not None or self._is_adopted:
                raise
            raise NeverStartedError(str(error)) from error

    def _wait(self) -> HistoryEntry:
        while True:
            if self._must_look(self._receive()):
                entry = self._look()
                if entry is not None:
                    return entry
            if time.monotonic() >= self._deadline():
                raise TransientError(
                    f"run {self._prompt_id} on ComfyUI at {self._client.url} did not end within "
                    "its time limit (COMFYUI_TIMEOUT); it is taken off the server. Submit it again."
                )

    def _first_socket(self, *, is_foreign_prompt: bool) -> EventSource:
        try:
            return self._open_events(is_foreign_prompt)
        except TransientError as error:
            raise error if is_foreign_prompt else NeverStartedError(str(error)) from error

    def _deadline(self) -> float:
        return math.inf if self._started is None else self._started + self._timeout_seconds

    def _note_start(self) -> None:
        if self._started is None:
            self._started = time.monotonic()

    def _receive(self) -> ServerEvent | None:
        """Return the next event; a socket that fails is replaced, and history has to be read."""
        until = min(self._next_check, self._deadline())
        try:
            return self._socket.receive(until - time.monotonic())
        except TransientError:
            self._reconnect()
            return None

    def _must_look(self, event: ServerEvent | None) -> bool:
        """Take note of the event; say whether it is time to read history."""
        match event:
            case ServerLost():
                if self._started is None:
                    raise TransientError(event.reason)
                return True
            case Recheck():
                return True
            case QueueChanged():
                # While it waits, one prompt less may be this one: taken out of the queue.
                is_fewer = event.num_prompts < self._num_prompts and self._started is None
                self._num_prompts = event.num_prompts
                return self._is_foreign_prompt or is_fewer or time.monotonic() >= self._next_check
            case None:
                return time.monotonic() >= self._next_check
            case _ if event.prompt_id != self._prompt_id:
                return time.monotonic() >= self._next_check
        self._note_start()
        self._was_heard = True
        self._next_check = time.monotonic() + self._silence_seconds
        if isinstance(event, NodeProgress | PreviewImage) and self._progress is not None:
            self._progress.tell(event)
        return isinstance(event, RunEnded)

    def _look(self) -> HistoryEntry | None:
        """Read history and queue; raise if the prompt is lost or nothing executes."""
        was_silent = time.monotonic() >= self._next_check
        self._next_check = time.monotonic() + self._silence_seconds
        try:
            found = locate(self._client, self._prompt_id)
        except TransientError:
            self._failed_checks += 1
            if self._failed_checks >= _MAX_FAILED_CHECKS:
                raise
            return None
        self._failed_checks = 0
        if isinstance(found, HistoryEntry):
            return found
        if found is None:
            raise TransientError(
                f"ComfyUI at {self._client.url} lost prompt {self._prompt_id}: it is neither in "
                "the queue nor in history. The server restarted, or someone cleared its queue. "
                "Submit it again."
            )
        self._check_worker(found)
        is_running = found.is_running(self._prompt_id)
        # It may have begun this moment: deaf is who heard nothing for a silence while it ran.
        is_deaf = was_silent and is_running and self._ran_at_last_look and not self._was_heard
        self._ran_at_last_look = is_running
        if is_running:
            self._note_start()
        if is_deaf and not self._is_foreign_prompt:
            self._reconnect()
        return None

    def _check_worker(self, queue: QueueState) -> None:
        """Raise if for a whole silence nothing ran and the same prompt waited at the head."""
        if queue.running:
            self._idle_head = None
            return
        head, now = queue.pending[0].prompt_id, time.monotonic()
        if self._idle_head != head:
            self._idle_head, self._idle_since = head, now
        elif now - self._idle_since >= self._silence_seconds:
            raise TransientError(
                f"ComfyUI at {self._client.url} executes nothing though {len(queue.pending)} "
                "prompts wait: its worker thread is dead. Restart that server, then submit again."
            )

    def _reconnect(self) -> None:
        """Open another socket under a fresh id: it hears `status` only, and every one is a look."""
        self._socket.close()
        self._is_foreign_prompt = True
        self._socket = retry_transient(
            lambda: self._open_events(self._is_foreign_prompt),
            retry_for_seconds=min(_RECONNECT_SECONDS, self._deadline() - time.monotonic()),
            first_pause_seconds=0.1,
            longest_pause_seconds=2.0,
        )
        self._next_check = time.monotonic()

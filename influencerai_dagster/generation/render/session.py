"""Share the ComfyUI servers of one process, and the renders that it waits for.

render_job.py renders one job, generation/worker/worker.py claims them.
"""

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine

from influencerai_dagster.engines.comfyui.server_pool import ServerPool
from influencerai_dagster.engines.comfyui.values import RenderProgress
from influencerai_dagster.errors import TransientError
from influencerai_dagster.generation.jobs import Need
from influencerai_dagster.generation.storage_pauses import report_full
from influencerai_dagster.retry import LONGEST_PAUSE_SECONDS
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.storage.retrying_store import RetryingObjectStore

_ALMOST_DONE = 0.99
_UPSCALER = "ImageUpscaleWithModel"
"""Tells its progress tile by tile."""
_UNFIT_SECONDS = 60.0


class OtherServerError(TransientError):
    """The server that a job was sent to cannot render it, but another one can, or may."""


@dataclass
class LiveRender:
    """A render that this process waits for.

    Attributes:
        url: its server.
        spent_seconds: duration of earlier renders of the same claim.
        queued_seconds: how long they waited in the queues of their servers.
        sent: time.monotonic() of its submission.
        started: time.monotonic() of its first progress; None while it waits there.
        ended: time.monotonic() of its end.
        progress: the share that is done, 0 to 1; 1 only after its end.
    """

    url: str
    prompt_id: str
    spent_seconds: float = 0.0
    queued_seconds: float = 0.0
    sent: float = field(default_factory=time.monotonic)
    started: float | None = None
    ended: float | None = None
    progress: float = 0.0

    def note(self, event: RenderProgress) -> None:
        """Take note of progress; only that of nodes counts that take nearly all the time."""
        if self.started is None:
            self.started = time.monotonic()
        if "Sampler" in event.node_class or event.node_class == _UPSCALER:
            self.progress = min(event.fraction, _ALMOST_DONE)


@dataclass(frozen=True)
class RenderSession:
    """The ComfyUI servers, their folder of LoRAs, and the renders of this process.

    Attributes:
        lora_dir: ComfyUI's models/loras folder, shared with this process.
        timeout_seconds: how long one render may take, without the time in a server's queue.
        tenant_nodes: COMFYUI_TENANT_NODES, classes that tenants' own workflows may use.
        longest_pause_seconds: between two attempts to read or store what a render needs or made.
        stopping: set to abort all retries and waits of this process.
        renders: by job, for the one render that each has at a time.
        stopped: jobs that were interrupted and begin no further render.
        unfit: until when (time.monotonic()) a server gets no job of a need that it cannot serve.
    """

    server_pool: ServerPool
    lora_dir: Path | None
    timeout_seconds: float
    tenant_nodes: frozenset[str] = frozenset()
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS
    stopping: threading.Event = field(default_factory=threading.Event)
    renders: dict[UUID, LiveRender] = field(default_factory=dict)
    stopped: set[UUID] = field(default_factory=set)
    unfit: dict[tuple[str, Need], float] = field(default_factory=dict)

    def retrying_store(self, engine: Engine, store: ObjectStore) -> RetryingObjectStore:
        """Return a bucket as renders use it: attempts go on until `stopping`, claims pause if full.

        Args:
            engine: of the catalog.
            store: the bucket of assets.
        """
        on_full = partial(report_full, engine, store.bucket)
        return RetryingObjectStore(
            store, self.stopping, on_full, longest_pause_seconds=self.longest_pause_seconds
        )

    def begin(self, job_id: UUID, url: str, prompt_id: str) -> LiveRender:
        """Register the render of a job's prompt, before the prompt is sent.

        Raises:
            TransientError: the job was interrupted.
        """
        spent, queued = self.used_seconds(job_id), self.queued_seconds(job_id)
        render = self.renders[job_id] = LiveRender(url, prompt_id, spent, queued)
        self.check_wanted(job_id)
        return render

    def note_unfit(self, url: str, need: Need) -> None:
        """Send no job of this need to a server for a while; a file may be installed there later."""
        self.unfit[url, need] = time.monotonic() + _UNFIT_SECONDS

    def unfit_needs(self) -> dict[str, frozenset[Need]]:
        """Return the needs that each server cannot serve now, as far as this process knows."""
        now = time.monotonic()
        left = [key for key, until in list(self.unfit.items()) if until > now]
        return {url: frozenset(need for at, need in left if at == url) for url, _ in left}

    def check_wanted(self, job_id: UUID) -> None:
        """Raise TransientError if a job was stopped while it was prepared."""
        if job_id in self.stopped:
            raise TransientError(f"job {job_id} was stopped before its next render began")

    def end(self, job_id: UUID) -> None:
        """Forget a job that this process no longer executes."""
        self.renders.pop(job_id, None)
        self.stopped.discard(job_id)

    def used_seconds(self, job_id: UUID) -> float:
        """Return how long the renders of a job's claim have run; 0 before the first progress."""
        render = self.renders.get(job_id)
        if render is None:
            return 0.0
        if render.started is None:
            return render.spent_seconds
        return render.spent_seconds + (render.ended or time.monotonic()) - render.started

    def queued_seconds(self, job_id: UUID) -> float:
        """Return how long the renders of a job's claim waited in the queues of their servers."""
        render = self.renders.get(job_id)
        if render is None:
            return 0.0
        began = render.started or render.ended or time.monotonic()
        return render.queued_seconds + began - render.sent

    def interrupt(self, job_id: UUID) -> None:
        """Take a job's prompt off its server, whether it waits or runs; no other is touched."""
        self.stopped.add(job_id)
        render = self.renders.get(job_id)
        if render is not None:
            self.server_pool[render.url].cancel(render.prompt_id)

"""One claimed job from its claim to its end in the job queue, whatever happens in between.

Which jobs are claimed lives in generation/worker/worker.py, how one is rendered in
generation/render/images.py and generation/render/videos.py.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from sqlalchemy import Engine

from influencerai_dagster.core.manifests.outputs import (
    OutputManifest,
)
from influencerai_dagster.core.stored_file import (
    StoredFile,
)
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.waiting import NeverStartedError
from influencerai_dagster.errors import InfluencerAIError, PermanentError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import ClaimedJob, LeaseLostError
from influencerai_dagster.generation.render.session import OtherServerError, RenderSession
from influencerai_dagster.generation.worker.options import FinishedJob
from influencerai_dagster.retry import (
    retry_transient,
)
from influencerai_dagster.storage.object_store import ObjectStore

_AVOID_SECONDS = 5.0
_MAX_RETURNS = 10


class Renderer(Protocol):
    """How one job of a kind is rendered; called from several threads."""

    render_session: RenderSession
    store: ObjectStore

    def render(self, job: ClaimedJob, server: str) -> tuple[OutputManifest, StoredFile]:
        """Render one job on one server; return the output and its stored manifest."""


@dataclass
class JobExecutor:
    """Works on jobs in any number of threads."""

    engine: Engine
    renderer: Renderer
    _avoided: dict[str, float] = field(default_factory=dict)
    _returns: Counter[UUID] = field(default_factory=Counter)

    def usable_servers(self) -> dict[str, int]:
        """Return the servers that jobs may be sent to, with the length of their queues."""
        now = time.monotonic()
        usable = self.renderer.render_session.server_pool.usable()
        return {url: num for url, num in usable.items() if self._avoided.get(url, 0.0) <= now}

    def give_back(self, job: ClaimedJob) -> bool:
        """Return a lease, before its prompt is stopped: so no stopped render counts as a failure.

        Returns:
            Whether the prompt is to be stopped; if not, another worker has the job, and may want
            the render.
        """
        with suppress(InfluencerAIError):
            return self._release(job, None)
        return True

    def work(self, job: ClaimedJob) -> FinishedJob:
        """Render one job and write its end into the job queue."""
        output: OutputManifest | None = None
        made: OutputManifest | None = None
        problem: str | None = None
        server = job.server or ""
        try:
            made, manifest = self.renderer.render(job, server)
            self._complete(job, made, manifest)
            output = made
        except LeaseLostError as error:
            problem = str(error)  # another worker has the job: nothing of it is ours to write
        except OtherServerError as error:
            problem = str(error)
            self._return(job, error)
        except NeverStartedError as error:
            problem = str(error)
            self._avoided[server] = time.monotonic() + _AVOID_SECONDS
            self._return(job, error)
        except InfluencerAIError as error:
            problem = str(error)
            self._end_attempt(job, error, is_rendered=made is not None)
        except MemoryError as error:
            problem = f"the worker had too little free memory: {error}".rstrip(": ")
            self._end_attempt(job, TransientError(problem), is_rendered=made is not None)
        except Exception as error:  # noqa: BLE001 - one job must not end the run of all the others
            problem = f"{type(error).__name__}: {error}"
            self._fail(job, PermanentError(problem))
        render_session = self.renderer.render_session
        return FinishedJob(
            job_id=job.id,
            output=output,
            error=problem,
            wait_seconds=job.wait_seconds + render_session.queued_seconds(job.id),
            seconds=output.render_seconds if output else render_session.used_seconds(job.id),
            server=output.comfyui_url if output else server,
            attempt=job.attempt,
        )

    def _write(self, write: Callable[[], object]) -> None:
        """Write into the job queue, and wait for PostgreSQL while it is away."""
        retry_transient(
            write, sleep=self.renderer.render_session.stopping.wait, no_retry=(LeaseLostError,)
        )

    def _complete(self, job: ClaimedJob, output: OutputManifest, manifest: StoredFile) -> None:
        def write() -> None:
            with transaction(self.engine) as session:
                job_queue.complete(session, job.id, job.lease_token, output, manifest.object_key)

        self._write(write)

    def _return(self, job: ClaimedJob, reason: TransientError) -> None:
        """Give a job back that never began; one that never begins anywhere fails in the end."""
        self._returns[job.id] += 1
        if self._returns[job.id] > _MAX_RETURNS:
            self._fail(job, reason)
            return
        with suppress(InfluencerAIError):  # as in _fail
            self._write(lambda: self._release(job, reason))

    def _release(self, job: ClaimedJob, reason: TransientError | None) -> bool:
        used = self.renderer.render_session.used_seconds(job.id)
        with transaction(self.engine) as session:
            return job_queue.requeue(
                session, job.id, job.lease_token, gpu_seconds=used, reason=reason
            )

    def _end_attempt(self, job: ClaimedJob, error: InfluencerAIError, *, is_rendered: bool) -> None:
        # It waited and we stop, or only the job queue was away: no attempt is lost.
        is_blameless = is_rendered or self.renderer.render_session.stopping.is_set()
        if isinstance(error, TransientError) and is_blameless:
            with suppress(InfluencerAIError):
                self._write(lambda: self._release(job, None))
        else:
            self._fail(job, error)

    def _fail(self, job: ClaimedJob, problem: InfluencerAIError) -> None:
        used = self.renderer.render_session.used_seconds(job.id)

        def write() -> None:
            with transaction(self.engine) as session:
                job_queue.fail(session, job.id, job.lease_token, problem, gpu_seconds=used)

        # If the job queue stays away, the lease runs out and another worker has the job.
        with suppress(InfluencerAIError):
            self._write(write)

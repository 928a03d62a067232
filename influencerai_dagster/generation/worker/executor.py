"""Execute one claimed job: render it and write its outcome into the job queue.

Which jobs are claimed is decided in generation/worker/worker.py; one is rendered in
generation/render/images.py or generation/render/videos.py.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Engine

from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.waiting import NeverStartedError
from influencerai_dagster.errors import InfluencerAIError, PermanentError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import ClaimedJob, LeaseLostError
from influencerai_dagster.generation.render.renderer import Renderer
from influencerai_dagster.generation.render.session import OtherServerError, RenderSession
from influencerai_dagster.generation.worker.options import FinishedJob
from influencerai_dagster.retry import retry_transient

_MAX_REQUEUES = 10


@dataclass
class JobExecutor:
    """Executes jobs in any number of threads.

    Attributes:
        engine: of the catalog.
        render_session: the servers and the running renders of this process.
        renderer: of the jobs' kind.
        avoid_seconds: how long a server gets no job after a prompt never started there.
    """

    engine: Engine
    render_session: RenderSession
    renderer: Renderer
    avoid_seconds: float
    _avoided: dict[str, float] = field(default_factory=dict)
    _num_requeues: Counter[UUID] = field(default_factory=Counter)

    def usable_servers(self) -> dict[str, int]:
        """Return the servers that jobs may be sent to, with the length of their queues."""
        now, usable = time.monotonic(), self.render_session.server_pool.usable()
        return {url: num for url, num in usable.items() if self._avoided.get(url, 0.0) <= now}

    def release(self, job: ClaimedJob) -> bool:
        """Release a lease before its prompt is interrupted, so that no failed attempt is recorded.

        Returns:
            True if the caller should interrupt the prompt; False if another worker owns the job now
            and may use the render.
        """
        with suppress(InfluencerAIError):
            return self._requeue(job, None)
        return True

    def execute(self, job: ClaimedJob) -> FinishedJob:
        """Render one job and write its outcome into the job queue."""
        output: OutputManifest | None = None
        rendered: OutputManifest | None = None
        problem: str | None = None
        server = job.server or ""
        try:
            rendered, manifest = self.renderer.render(job, server)
            self._complete(job, rendered, manifest)
            output = rendered
        except LeaseLostError as error:
            problem = str(error)  # another worker owns the job: this one writes nothing more
        except OtherServerError as error:
            problem = str(error)
            self._requeue_unstarted(job, error)
        except NeverStartedError as error:
            problem = str(error)
            self._avoided[server] = time.monotonic() + self.avoid_seconds
            self._requeue_unstarted(job, error)
        except InfluencerAIError as error:
            problem = str(error)
            self._end_attempt(job, error, is_rendered=rendered is not None)
        except MemoryError as error:
            problem = f"the worker had too little free memory: {error}".rstrip(": ")
            self._end_attempt(job, TransientError(problem), is_rendered=rendered is not None)
        except Exception as error:  # noqa: BLE001 - one job must not end the run of all the others
            problem = f"{type(error).__name__}: {error}"
            self._fail(job, PermanentError(problem))
        return FinishedJob(
            job_id=job.id,
            output=output,
            error=problem,
            wait_seconds=job.wait_seconds + self.render_session.queued_seconds(job.id),
            seconds=output.render_seconds if output else self.render_session.used_seconds(job.id),
            server=output.comfyui_url if output else server,
            attempt=job.attempt,
        )

    def _write(self, write: Callable[[], object]) -> None:
        """Write into the job queue; retry while PostgreSQL is away."""
        retry_transient(write, sleep=self.render_session.stopping.wait, no_retry=(LeaseLostError,))

    def _complete(self, job: ClaimedJob, output: OutputManifest, manifest: StoredFile) -> None:
        def write() -> None:
            with transaction(self.engine) as session:
                job_queue.complete(session, job.id, job.lease_token, output, manifest.object_key)

        self._write(write)

    def _requeue_unstarted(self, job: ClaimedJob, reason: TransientError) -> None:
        """Requeue a job that never started; one that starts on no server fails in the end."""
        self._num_requeues[job.id] += 1
        if self._num_requeues[job.id] > _MAX_REQUEUES:
            self._fail(job, reason)
            return
        with suppress(InfluencerAIError):  # as in _fail
            self._write(lambda: self._requeue(job, reason))

    def _requeue(self, job: ClaimedJob, reason: TransientError | None) -> bool:
        used = self.render_session.used_seconds(job.id)
        with transaction(self.engine) as session:
            return job_queue.requeue(
                session, job.id, job.lease_token, gpu_seconds=used, reason=reason
            )

    def _end_attempt(self, job: ClaimedJob, error: InfluencerAIError, *, is_rendered: bool) -> None:
        # The worker stops, or only the job queue was away: no attempt is lost.
        is_blameless = is_rendered or self.render_session.stopping.is_set()
        if isinstance(error, TransientError) and is_blameless:
            with suppress(InfluencerAIError):
                self._write(lambda: self._requeue(job, None))
        else:
            self._fail(job, error)

    def _fail(self, job: ClaimedJob, problem: InfluencerAIError) -> None:
        used = self.render_session.used_seconds(job.id)

        def write() -> None:
            with transaction(self.engine) as session:
                job_queue.fail(session, job.id, job.lease_token, problem, gpu_seconds=used)

        # If the job queue stays away, the lease expires and another worker claims the job.
        with suppress(InfluencerAIError):
            self._write(write)

"""Cancel jobs in the job queue, and interrupt their prompts on the ComfyUI servers at once.

No other prompt is touched. If a server is away, the job's worker learns of the cancellation from
its next heartbeat and interrupts the prompt then.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import InfluencerAIError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import AbandonedPrompts, Job

if TYPE_CHECKING:
    from influencerai_dagster.engines.comfyui.client import ComfyUIClient

_log = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 5.0


def cancel_jobs(
    engine: Engine, tenant: str, job_ids: Sequence[UUID], *, servers: Sequence[str]
) -> list[Job]:
    """Cancel jobs that have not ended, all or none; one that has ended stays as it is.

    Args:
        servers: the ComfyUI servers, COMFYUI_URL, with their credentials.

    Returns:
        The jobs as they are now.

    Raises:
        PermanentError: the tenant has no job of such an id; none was cancelled.
    """
    with transaction(engine) as session:
        # In one order everywhere: two callers that lock the same jobs do not block each other.
        jobs = {
            job_id: job_queue.cancel(session, tenant, job_id) for job_id in sorted(set(job_ids))
        }
        abandoned = job_queue.abandoned_prompts(session, tenant, jobs)
    _interrupt(abandoned, servers)
    return [jobs[job_id] for job_id in job_ids]


def cancel_open_jobs(
    engine: Engine,
    tenant: str,
    *,
    day: date | None = None,
    kind: JobKind | None = None,
    servers: Sequence[str],
) -> int:
    """Cancel all jobs of a tenant that have not ended; return how many.

    Args:
        day: only jobs of this day.
        kind: only jobs of this kind.
        servers: the ComfyUI servers, COMFYUI_URL, with their credentials.
    """
    with transaction(engine) as session:
        job_ids = job_queue.cancel_open(session, tenant, day=day, kind=kind)
        abandoned = job_queue.abandoned_prompts(session, tenant, job_ids)
    _interrupt(abandoned, servers)
    return len(job_ids)


def _interrupt(abandoned: Sequence[AbandonedPrompts], servers: Sequence[str]) -> None:
    """Take prompts off the servers, whether they run or wait; all servers at once."""
    if not abandoned:
        return
    from influencerai_dagster.engines.comfyui import client as comfyui  # noqa: PLC0415 - httpx

    with ExitStack() as stack, ThreadPoolExecutor(len(servers), "cancel") as pool:
        clients = [
            stack.enter_context(comfyui.ComfyUIClient(server, timeout_seconds=_TIMEOUT_SECONDS))
            for server in servers
        ]
        known = {client.url for client in clients}
        for client in clients:
            prompt_ids = {
                prompt_id
                for job in abandoned
                if job.server == client.url or job.server not in known
                for prompt_id in job.prompt_ids
            }
            if prompt_ids:
                pool.submit(_interrupt_on, client, prompt_ids)


def _interrupt_on(client: "ComfyUIClient", prompt_ids: set[str]) -> None:
    try:
        queue = client.queue()
    except InfluencerAIError as error:
        _log.warning(
            "prompts of cancelled jobs run on that server until their next heartbeat: %s", error
        )
        return
    for prompt in (*queue.pending, *queue.running):
        if prompt.prompt_id in prompt_ids:
            client.cancel(prompt.prompt_id)

"""One worker: a process that does what a Dagster run of op `render_images` does for a tenant-day.

Everything that a chaos run knows of how jobs are worked is in this module. Workers are forked from
a process that has imported it, which is most of what the start of a new Python costs.
"""

import logging
import multiprocessing
import os
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

from influencerai_dagster.core.base import Value
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.engines.comfyui.server import ServerTimes
from influencerai_dagster.engines.comfyui.server_pool import ServerPool
from influencerai_dagster.generation.queue import WorkerRegistration
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.generation.worker.options import FinishedJob, WorkerOptions
from influencerai_dagster.generation.worker.worker import RenderWorker
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore

log = logging.getLogger("chaos.worker")


class Assignment(Value):
    """The tenant-day of one worker, and the addresses of its servers."""

    owner: str
    partition_key: str
    database_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    s3_bucket: str
    comfyui_urls: tuple[str, ...]
    comfyui_timeout_seconds: float = 60.0
    hung_seconds: float = 3.0
    lease_seconds: float
    idle_timeout_seconds: float


def start_worker(assignment: Assignment, log_path: Path) -> BaseProcess:
    """Start a worker process; what it says goes to its log."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "boto3.session"])
    process = context.Process(target=_main, args=(assignment, log_path), daemon=True)
    process.start()
    return process


def work(assignment: Assignment) -> None:
    """Work on the tenant-day of the assignment."""
    engine = create_catalog_engine(assignment.database_url, application_name=assignment.owner)
    client = make_s3_client(
        endpoint_url=assignment.s3_endpoint,
        access_key=assignment.s3_access_key,
        secret_key=assignment.s3_secret_key,
        region="us-east-1",
        path_style=True,
        checksum_mode="when_required",
    )
    store = ObjectStore(client, assignment.s3_bucket)
    server_pool = ServerPool(
        assignment.comfyui_urls,
        ServerTimes(
            hung_seconds=assignment.hung_seconds,
            stuck_seconds=assignment.comfyui_timeout_seconds + assignment.hung_seconds,
        ),
    )
    render_session = RenderSession(server_pool, None, assignment.comfyui_timeout_seconds)
    day = DayKey.parse(assignment.partition_key)
    RenderWorker(
        engine,
        store,
        render_session,
        ImageRenderer(engine, store, render_session),
        registration=WorkerRegistration(assignment.owner, JobKind.IMAGE, day.tenant, day.day),
        options=WorkerOptions(
            idle_timeout_seconds=assignment.idle_timeout_seconds,
            lease_seconds=assignment.lease_seconds,
            on_finished=_log_job,
        ),
    ).run()


def _log_job(job: FinishedJob) -> None:
    log.info("job %s: %s (%.2f s)", job.job_id, job.error or "completed", job.seconds)


def _stop(*_: object) -> NoReturn:
    """Unwind, as Dagster does when a run is stopped."""
    raise KeyboardInterrupt


def _main(assignment: Assignment, log_path: Path) -> None:
    """Work until nothing more comes; an error that reaches here ends the process with code 1."""
    with log_path.open("a", encoding="utf-8") as file:
        for standard in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), standard.fileno())
    signal.signal(signal.SIGTERM, _stop)
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(name)s %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    work(assignment)

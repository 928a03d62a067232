"""All servers that generation needs, and the images that both sides of a comparison render there.

The images are 64×64 and one sampler step: the simulator's own work is small beside the seconds of
the step, which stand for the GPU.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import psutil
from sqlalchemy import Engine, text

from benchmarks.servers import (
    BASE_MODEL,
    ComfyUIServer,
    S3Server,
    running_catalog,
    running_comfyui,
    running_s3,
)
from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.core.sampling import ImageSampling
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.engines.comfyui.templates import fill_image_workflow, shipped_template
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import ImageJobPayload, JobRequest
from influencerai_dagster.generation.queue import Job
from influencerai_dagster.generation.render.images import FAMILY_DEFAULTS
from influencerai_dagster_tests.testing.waiting import wait_until

DAY = date(2026, 1, 1)
SIZE_PX = 64
STEPS = 1


@dataclass(frozen=True)
class PipelineStack:
    """Running servers; goes to other processes by value."""

    s3: S3Server
    database_url: str
    comfyui: Sequence[ComfyUIServer]

    @property
    def comfyui_urls(self) -> list[str]:
        """The addresses of the ComfyUI servers."""
        return [server.url for server in self.comfyui]

    def add_tenants(self, *tenants: str) -> None:
        """Add tenants to the catalog."""
        engine = self.engine()
        with transaction(engine) as session:
            for tenant in tenants:
                add_tenant(session, tenant)
        engine.dispose()

    def engine(self) -> Engine:
        """Return connections to the catalog; dispose of them."""
        return create_catalog_engine(self.database_url)

    def submit(
        self, tenant: str, requests: Sequence[JobRequest], day: date = DAY
    ) -> Sequence[UUID]:
        """Put jobs into the job queue."""
        engine = self.engine()
        with transaction(engine) as session:
            jobs = job_queue.submit(session, tenant, day, requests)
        engine.dispose()
        return [job.id for job in jobs]

    def completed_job(self, tenant: str, job_id: UUID) -> Job:
        """Wait until a job is completed."""
        engine = self.engine()
        jobs: list[Job] = []

        def is_completed() -> bool:
            with transaction(engine) as session:
                jobs[:] = [job_queue.get_job(session, tenant, job_id)]
            assert jobs[0].status is not JobStatus.FAILED, jobs[0].error
            return jobs[0].status is JobStatus.COMPLETED

        wait_until(is_completed, f"job {job_id}", timeout_seconds=120)
        engine.dispose()
        return jobs[0]

    def postgres_cpu_seconds(self) -> float:
        """Return the CPU seconds of PostgreSQL's processes, those that have ended among them."""
        engine = self.engine()
        with engine.connect() as connection:
            own = connection.scalar(text("SELECT pg_backend_pid()"))
            postmaster = psutil.Process(psutil.Process(own).ppid())
            seconds = sum(postmaster.cpu_times()[:4])  # its own, and of children that have ended
            for process in postmaster.children():
                with suppress(psutil.NoSuchProcess):  # a connection that was just closed
                    seconds += sum(process.cpu_times()[:2])
        engine.dispose()
        return seconds


@contextmanager
def running_stack(
    num_servers: int, *, seconds_per_step: float, has_journal: bool = False
) -> Iterator[PipelineStack]:
    """Run PostgreSQL, S3 and simulated ComfyUI servers until the end of the block.

    Args:
        num_servers: of ComfyUI.
        seconds_per_step: how long a sampler step takes.
        has_journal: whether the ComfyUI servers write down when each prompt came.
    """
    with (
        running_s3() as s3,
        running_catalog() as database_url,
        running_comfyui(
            num_servers, seconds_per_step=seconds_per_step, has_journal=has_journal
        ) as comfyui,
    ):
        yield PipelineStack(s3, database_url, comfyui)


def image(seed: int, *, steps: int = STEPS) -> JobRequest:
    """Return the request of an image; another seed is another image."""
    payload = ImageJobPayload(
        prompt="a woman in a café", seed=seed, steps=steps, width_px=SIZE_PX, height_px=SIZE_PX
    )
    return JobRequest(payload=payload)


def workflow(seed: int, *, filename_prefix: str) -> dict[str, Any]:
    """Return what the job of `image` sends to ComfyUI."""
    defaults = FAMILY_DEFAULTS[BaseModelFamily.SD15]
    sampling = ImageSampling(
        prompt="a woman in a café",
        negative_prompt="",
        seed=seed,
        steps=STEPS,
        cfg=defaults.cfg,
        sampler_name=defaults.sampler_name,
        scheduler=defaults.scheduler,
        width_px=SIZE_PX,
        height_px=SIZE_PX,
        base_model=BASE_MODEL,
    )
    template = shipped_template(defaults.workflow)
    return fill_image_workflow(template, sampling, filename_prefix=filename_prefix)

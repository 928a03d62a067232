"""A job, the servers that it needs, and the worker processes that are started for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from multiprocessing.process import BaseProcess
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import ImageJobPayload, JobRequest
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.chaos.proxy import Proxy
from influencerai_dagster_tests.chaos.worker import Assignment, start_worker
from influencerai_dagster_tests.testing.catalog_rows import end_backoff, run_out_leases
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.waiting import wait_until

DAY = date(2026, 11, 23)
TENANT = "demo"
HELD_SECONDS = 60


@dataclass
class Workbench:
    """A job, the servers that it needs, and the workers that were started for it."""

    engine: Engine
    store: ObjectStore
    comfyui: ComfyUISimulator
    comfyui_proxy: Proxy
    s3_proxy: Proxy
    assignment: Assignment
    folder: Path
    workers: list[BaseProcess] = field(default_factory=list)

    def submit(self, *, steps: int = 1) -> job_queue.Job:
        """Submit a small image."""
        payload = ImageJobPayload(
            prompt="bella", seed=uuid4().int % 2**53, steps=steps, width_px=64, height_px=64
        )
        with transaction(self.engine) as session:
            return job_queue.submit(session, TENANT, DAY, [JobRequest(payload=payload)])[0]

    def start_worker(self) -> BaseProcess:
        """Start one more worker for the tenant-day."""
        owner = f"worker-{len(self.workers) + 1}"
        assignment = self.assignment.model_copy(update={"owner": owner})
        self.workers.append(start_worker(assignment, self.folder / f"{owner}.log"))
        return self.workers[-1]

    def kill_worker_at(self, proxy: Proxy, request: bytes, *, is_answer: bool = False) -> None:
        """Start a worker, and kill it while a proxy holds its request or the answer to that."""
        with proxy.holding(request, is_answer=is_answer) as hold:
            self.start_worker()
            assert hold.arrived.wait(HELD_SECONDS), self.log()
            self.kill_worker()

    def kill_worker(self) -> None:
        """End the newest worker with SIGKILL."""
        self.workers[-1].kill()
        self.workers[-1].join(timeout=10)

    def wait_until(self, is_true: Callable[[], bool], what: str) -> None:
        """Wait for something that happens while a worker works; its end is a failure."""
        worker = self.workers[-1]

        def look() -> bool:
            if is_true():
                return True
            assert worker.is_alive(), f"the worker ended before {what}: {self.log()}"
            return False

        wait_until(look, what)

    def finish_by_another_worker(self, job: job_queue.Job) -> None:
        """Let the lease and the backoff of the dead worker be over, and another one work."""
        run_out_leases(self.engine, job)
        with transaction(self.engine) as session:
            assert job_queue.expire_leases(session) == 1
        end_backoff(self.engine)
        self.start_worker()
        self.wait_until(lambda: self.status(job) is JobStatus.COMPLETED, "the job is completed")

    def now(self, job: job_queue.Job) -> job_queue.Job:
        """Return a job as it is."""
        with transaction(self.engine) as session:
            return job_queue.get_job(session, TENANT, job.id)

    def status(self, job: job_queue.Job) -> JobStatus:
        """Return the status of a job."""
        return self.now(job).status

    def renders(self, job: job_queue.Job) -> dict[int, str | None]:
        """Return what became of the posted prompt of each claim: None while it has not ended."""
        prompts = self.comfyui.stats()["prompts"]
        claims = {claim: prompts.get(prompt_id(job.id, claim)) for claim in (1, 2, 3)}
        posted = {claim: prompt for claim, prompt in claims.items() if prompt}
        assert all(prompt["posted"] == 1 for prompt in posted.values())
        return {claim: prompt["outcome"] for claim, prompt in posted.items()}

    def is_rendering(self, job: job_queue.Job) -> bool:
        """Tell whether the first prompt of a job was taken from the server's queue."""
        return prompt_id(job.id, 1) in self.comfyui.stats()["order"]

    def output(self, job: job_queue.Job) -> job_queue.MediaAsset:
        """Return the one output of a completed job, after reading it from S3."""
        with transaction(self.engine) as session:
            asset = job_queue.media_asset_of_job(session, TENANT, job.id)
        assert asset is not None
        self.store.read(asset.file)
        assert self.now(job).lease_owner is None
        return asset

    def stored(self) -> set[str]:
        """Return the keys of all outputs on S3 whose output.json is there."""
        return {item.key for item in self.store.list("images/") if item.key.endswith(".json")}

    def log(self, number: int | None = None) -> str:
        """Return what a worker said, the first is 1; by default the newest."""
        return (self.folder / f"worker-{number or len(self.workers)}.log").read_text()

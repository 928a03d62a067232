"""Latency from a submitted job to ComfyUI when no run is there, on the local stack with Dagster.

The baseline is the start of a run that does nothing. A job comes in two ways: in the run config of
a run that is launched, and by `submit` alone, so that the web server has to launch the run.
"""

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
from sqlalchemy import Engine, text

from benchmarks.comparisons import Comparison
from benchmarks.dagster_stack import dagster_stack
from benchmarks.percentiles import percentile
from benchmarks.pipeline_stack import DAY, image
from benchmarks.servers import ComfyUIServer, running_comfyui
from influencerai_dagster.core.dagster_names import CODE_LOCATION, GENERATION_JOBS
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.submission import JobSubmitter
from influencerai_dagster.local.stack import Stack, run_stack
from influencerai_dagster.orchestration.partitions import content_day_partitions
from influencerai_dagster_tests.testing.waiting import wait_until

NUM_RUNS = 7
_DEFINITIONS = "benchmarks.dagster_with_empty_job"
_EMPTY_JOB = "empty_job"
_DAY = DayKey("acme", DAY)
_DEQUEUE_SECONDS = 1.0  # of dagster.yaml
_VARIABLES = {"GENERATION_IDLE_TIMEOUT_SECONDS": "0"}  # the next job finds no run again
_JOB_OF_KEY = text("SELECT id FROM jobs WHERE idempotency_key = :key")
_START = "query($id: ID!) { runOrError(runId: $id) { ... on Run { startTime } } }"
_PERCENTILES = {"p50": 0.5, "p95": 0.95}


def run() -> Sequence[Comparison]:
    """Measure an empty run, a launched one with a job, and a job that is only submitted."""
    seconds: dict[str, list[float]] = {"empty": [], "launched": [], "submitted": []}
    with (
        running_comfyui(1, seconds_per_step=0.05, has_journal=True) as [comfyui],
        tempfile.TemporaryDirectory(prefix="influencerai-benchmarks-") as folder,
    ):
        stack = dagster_stack(
            Path(folder),
            comfyui=comfyui,
            variables=_VARIABLES,
            definitions_module=_DEFINITIONS,
        )

        def measure() -> None:
            with _running(stack, comfyui) as cold:
                for _ in range(NUM_RUNS):
                    seconds["empty"].append(cold.start_empty_run())
                    seconds["launched"].append(cold.launch_run_with_job())
                    seconds["submitted"].append(cold.submit_job())

        run_stack(stack, measure, announce=print, stays_up=False)
    return [
        Comparison(
            name=f"job {what} to prompt accepted, cold, {label}",
            baseline_name="an empty Dagster run launched to started",
            unit="s",
            measured=[percentile(seconds[side], share)],
            baseline=[percentile(seconds["empty"], share)],
            better="lower",
        )
        for side, what in (("launched", "in a launched run"), ("submitted", "submitted"))
        for label, share in _PERCENTILES.items()
    ]


@dataclass(frozen=True)
class _Cold:
    """A running stack that renders nothing at the moment."""

    url: str
    dagster: DagsterGraphQL
    engine: Engine
    comfyui: ComfyUIServer

    def start_empty_run(self) -> float:
        """Return seconds from the launch of a run that does nothing to its start."""
        _pause()
        launched_at = time.time()
        run_id = self.dagster.launch(_EMPTY_JOB, partition_key="none", run_config={})
        self._wait_for_end(run_id)
        answer = httpx.post(
            f"{self.url}/graphql",
            json={"query": _START, "variables": {"id": run_id}},
            trust_env=False,
        )
        return float(answer.json()["data"]["runOrError"]["startTime"]) - launched_at

    def launch_run_with_job(self) -> float:
        """Return seconds from the launch of a run with a job to its prompt in ComfyUI."""
        job = {**_fields(), "idempotency_key": str(uuid4())}
        _pause()
        launched_at = time.time()
        run_id = self.dagster.launch(
            GENERATION_JOBS[JobKind.IMAGE],
            partition_key=str(_DAY),
            run_config={"ops": {"render_images": {"config": {"jobs": [job]}}}},
        )
        self._wait_for_end(run_id)
        with self.engine.connect() as connection:
            job_id = connection.execute(_JOB_OF_KEY, {"key": job["idempotency_key"]}).scalar_one()
        return self.comfyui.times("posted")[prompt_id(job_id, 1)] - launched_at

    def submit_job(self) -> float:
        """Return seconds from `submit` returned to the prompt in ComfyUI."""
        _pause()
        submitter = JobSubmitter(self.engine)
        [job] = submitter.submit(JobKind.IMAGE, _DAY, [_fields()], key_prefix=None)
        submitted_at = time.time()
        prompt = prompt_id(job.id, 1)
        wait_until(lambda: prompt in self.comfyui.times("posted"), "the prompt")
        for found in self.dagster.runs(str(_DAY), created_after=submitted_at):
            self._wait_for_end(found.run_id)
        return self.comfyui.times("posted")[prompt] - submitted_at

    def _wait_for_end(self, run_id: str) -> None:
        wait_until(lambda: self.dagster.run(run_id).is_finished, f"run {run_id}")
        found = self.dagster.run(run_id)
        assert found.status == "SUCCESS", found.failures


@contextmanager
def _running(stack: Stack, comfyui: ComfyUIServer) -> Iterator[_Cold]:
    engine = create_catalog_engine(stack.environment["DATABASE_URL"])
    with transaction(engine) as session:
        add_tenant(session, _DAY.tenant)
    with closing(DagsterGraphQL(stack.dagster_url, CODE_LOCATION)) as dagster:
        dagster.add_partition(str(content_day_partitions.name), str(_DAY))
        yield _Cold(stack.dagster_url, dagster, engine, comfyui)
    engine.dispose()


def _pause() -> None:
    """Begin at any moment between two looks of the daemon at the queue of runs."""
    time.sleep(random.uniform(0.0, _DEQUEUE_SECONDS))  # noqa: S311 - no secret


def _fields() -> dict[str, object]:
    payload = image(time.time_ns() % 2**32).payload
    return payload.model_dump(exclude_none=True, exclude={"kind"}, mode="json")

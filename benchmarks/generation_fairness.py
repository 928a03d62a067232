"""Waiting times when one tenant floods the servers with jobs and five others submit a few.

Six workers in processes of their own, three servers, renders of 0.3 to 0.5 s.
"""

import random
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from sqlalchemy import text

from benchmarks.comparisons import Comparison
from benchmarks.percentiles import percentile
from benchmarks.pipeline_stack import PipelineStack, image, running_stack
from benchmarks.worker_processes import idle_workers
from influencerai_dagster.generation.jobs import JobRequest
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster_tests.testing.waiting import wait_until

NUM_SERVERS = 3
STEP_SECONDS, STEPS = 0.1, (3, 4, 5)
FLOOD = "flood"
LIGHT = tuple(f"light-{number}" for number in range(1, 6))
NUM_FLOOD = 400
NUM_VISITS, PAUSE_SECONDS = 12, (0.5, 1.5)
NUM_BACKLOG = 30

_PENDING = text("SELECT count(DISTINCT tenant_id) FROM jobs WHERE status = 'pending'")


def run() -> Sequence[Comparison]:
    """Measure waits on idle servers and under the flood, then shares while all have work."""
    with running_stack(NUM_SERVERS, seconds_per_step=STEP_SECONDS, has_journal=True) as stack:
        stack.add_tenants(FLOOD, *LIGHT)
        with idle_workers(stack, (FLOOD, *LIGHT)):
            # One after the other, so that nobody else is there.
            idle = [wait for tenant in LIGHT for wait in _visit(stack, tenant, (0.0, 0.0))]
            owners = dict.fromkeys(stack.submit(FLOOD, _images(FLOOD, NUM_FLOOD)), FLOOD)
            with ThreadPoolExecutor(len(LIGHT)) as pool:
                visits = pool.map(lambda tenant: _visit(stack, tenant, PAUSE_SECONDS), LIGHT)
                flooded = [wait for waits in visits for wait in waits]
            for tenant in LIGHT:
                ordered = stack.submit(tenant, _images(tenant, NUM_BACKLOG))
                owners |= dict.fromkeys(ordered, tenant)
            began = time.time()
            _wait_until_one_is_out_of_work(stack)
            index = _jain_index(_gpu_seconds(stack, owners, began, time.time()).values())
    return [
        *(_wait_comparison(label, share, flooded, idle) for label, share in _PERCENTILES.items()),
        Comparison(
            name="the same p95",
            baseline_name="the least: a lone tenant that waits for the render which ends first",
            unit="s",
            measured=[percentile(flooded, _P95)],
            baseline=[_least_p95(idle)],
            better="lower",
        ),
        Comparison(
            name="Jain's index of GPU-seconds, 6 tenants with work, one floods",
            baseline_name="equal shares",
            unit="",
            measured=[index],
            baseline=[1.0],
            better="higher",
        ),
    ]


_P95 = 0.95
_PERCENTILES = {"p50": 0.5, "p95": _P95}


def _wait_comparison(
    label: str, share: float, flooded: Sequence[float], idle: Sequence[float]
) -> Comparison:
    return Comparison(
        name=f"submission to image of five light tenants under a flood, {label}",
        baseline_name="the same on idle servers",
        unit="s",
        measured=[percentile(flooded, share)],
        baseline=[percentile(idle, share)],
        better="lower",
    )


def _least_p95(idle: Sequence[float]) -> float:
    """Return the p95 of waits that no queueing can beat while renders are not interrupted.

    All servers render when a job comes. It begins when the first of them ends, and takes its own
    time; what an idle server takes beside the render is added. Renders are met in proportion to
    their length, at any of their moments.
    """
    rng = random.Random(0)  # noqa: S311 - no secret
    seconds = [STEP_SECONDS * steps for steps in STEPS]
    waits = [
        min(rng.random() * rng.choices(seconds, weights=seconds)[0] for _ in range(NUM_SERVERS))
        + rng.choice(seconds)
        for _ in range(20_000)
    ]
    return percentile(waits, _P95) + percentile(idle, _P95) - max(seconds)


def _images(tenant: str, count: int) -> list[JobRequest]:
    """Return requests whose renders take different times."""
    rng = random.Random(tenant)  # noqa: S311 - no secret
    return [image(number, steps=rng.choice(STEPS)) for number in range(count)]


def _visit(stack: PipelineStack, tenant: str, pause_seconds: tuple[float, float]) -> list[float]:
    """Submit one image after the other; return the seconds from each job to its image."""
    rng = random.Random(tenant)  # noqa: S311 - no secret
    waits = []
    for request in _images(tenant, NUM_VISITS):
        time.sleep(rng.uniform(*pause_seconds))
        [job_id] = stack.submit(tenant, [request])
        job = stack.completed_job(tenant, job_id)
        assert job.finished_at is not None
        waits.append((job.finished_at - job.created_at).total_seconds())
    return waits


def _wait_until_one_is_out_of_work(stack: PipelineStack) -> None:
    engine = stack.engine()

    def is_one_out_of_work() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(_PENDING) <= len(LIGHT))

    wait_until(is_one_out_of_work, "a tenant to run out of jobs", timeout_seconds=120)
    engine.dispose()


def _gpu_seconds(
    stack: PipelineStack, owners: Mapping[UUID, str], began: float, ended: float
) -> Mapping[str, float]:
    """Return what each tenant had of the servers between two moments, by their journals."""
    tenants = {prompt_id(job_id, 1): tenant for job_id, tenant in owners.items()}
    seconds: dict[str, float] = defaultdict(float)
    for server in stack.comfyui:
        finished = server.times("finished")
        for render, started in server.times("executed").items():
            part = min(finished.get(render, ended), ended) - max(started, began)
            if part > 0 and render in tenants:
                seconds[tenants[render]] += part
    assert len(seconds) == 1 + len(LIGHT), f"only {sorted(seconds)} had any"
    return seconds


def _jain_index(shares: Collection[float]) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))

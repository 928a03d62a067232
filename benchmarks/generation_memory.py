"""Memory of one worker over a simulated hour: 1,000 jobs at 100 times their real speed.

A job every 36 ms, whose render of 5 s takes 50 ms; then as much again, three times.
"""

import time
from collections.abc import Sequence

import psutil
from sqlalchemy import Engine, text

from benchmarks.comparisons import Comparison
from benchmarks.pipeline_stack import DAY, PipelineStack, image, running_stack
from benchmarks.worker_processes import idle_workers
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster_tests.testing.waiting import wait_until

JOBS_PER_HOUR, HOUR_SECONDS, SPEED = 1000, 3600.0, 100.0
RENDER_SECONDS = 5.0
NUM_SERVERS = 3
NUM_WARM_UP = 100
NUM_HOURS = 4
_TENANT = "acme"
_COMPLETED = text("SELECT count(*) FROM jobs WHERE status = 'completed'")


def run() -> Sequence[Comparison]:
    """Measure the resident memory of the worker after 100, 1,000 and 4,000 jobs."""
    with running_stack(NUM_SERVERS, seconds_per_step=RENDER_SECONDS / SPEED) as stack:
        stack.add_tenants(_TENANT)
        with idle_workers(stack, [_TENANT]) as [worker]:
            process = psutil.Process(worker.pid)
            warm = _rss_after(stack, process, range(NUM_WARM_UP))
            started = time.monotonic()
            hour = _rss_after(stack, process, range(NUM_WARM_UP, JOBS_PER_HOUR))
            seconds = time.monotonic() - started
            day = _rss_after(stack, process, range(JOBS_PER_HOUR, NUM_HOURS * JOBS_PER_HOUR))
    wanted = (JOBS_PER_HOUR - NUM_WARM_UP) / JOBS_PER_HOUR * HOUR_SECONDS / SPEED
    return [
        Comparison(
            name=f"memory of a worker after {number:,} jobs",
            baseline_name=f"after its first {NUM_WARM_UP}",
            unit="MiB",
            measured=[rss],
            baseline=[warm],
            better="lower",
        )
        for number, rss in ((JOBS_PER_HOUR, hour), (NUM_HOURS * JOBS_PER_HOUR, day))
    ] + [
        Comparison(
            name=f"{JOBS_PER_HOUR:,} jobs an hour at {SPEED:g} times the speed: seconds",
            baseline_name="seconds in which they are submitted",
            unit="s",
            measured=[seconds],
            baseline=[wanted],
            better="lower",
        )
    ]


def _rss_after(stack: PipelineStack, process: psutil.Process, seeds: range) -> float:
    """Submit an image every 36 ms, wait until all are completed; return MiB of the worker."""
    engine = stack.engine()
    interval_seconds = HOUR_SECONDS / JOBS_PER_HOUR / SPEED
    started = time.monotonic()
    for place, seed in enumerate(seeds):
        time.sleep(max(0.0, started + place * interval_seconds - time.monotonic()))
        with transaction(engine) as session:
            job_queue.submit(session, _TENANT, DAY, [image(seed)])
    wait_until(lambda: _num_completed(engine) == seeds.stop, "all images", timeout_seconds=600)
    engine.dispose()
    return float(process.memory_info().rss) / 1024**2


def _num_completed(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(_COMPLETED))

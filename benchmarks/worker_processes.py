"""Run our workers, each in a process of its own, as a Dagster run does."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import date
from multiprocessing.process import BaseProcess
from typing import ParamSpec, TypeVar
from uuid import uuid4

from sqlalchemy import text

from benchmarks.bare_client import Spent
from benchmarks.pipeline_stack import DAY, PipelineStack
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.engines.comfyui.server_pool import ServerPool
from influencerai_dagster.generation.queue import WorkerRegistration
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.generation.worker.options import WorkerOptions, WorkerReport
from influencerai_dagster.generation.worker.worker import RenderWorker
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.waiting import wait_until

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_TIMEOUT_SECONDS = 60.0
_FOR_EVER = 86_400.0
_COUNT = text("SELECT count(*) FROM workers")


def in_new_process(
    function: Callable[Arguments, Result], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Result:
    """Call a function in a Python that was started for it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **options).result()


def work_on_day(stack: PipelineStack, tenant: str, num_jobs: int, *, day: date = DAY) -> Spent:
    """Run a worker on a tenant-day until its jobs are done; all of them must be completed."""
    store = stack.s3.store()  # before the clock starts, as for the bare client
    started, cpu_started = time.perf_counter(), time.process_time()
    report = _worker(stack, store, tenant, day, idle_timeout_seconds=0.0)
    spent = Spent(time.perf_counter() - started, time.process_time() - cpu_started)
    assert not report.failed, report.failed[0].error
    assert report.num_completed == num_jobs, f"{report.num_completed} instead of {num_jobs} jobs"
    return spent


@contextmanager
def idle_workers(stack: PipelineStack, tenants: Sequence[str]) -> Iterator[Sequence[BaseProcess]]:
    """Run a worker for each tenant, all of them at work when the block begins."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_work_for_ever, args=(stack, tenant), daemon=True)
        for tenant in tenants
    ]
    for process in processes:
        process.start()
    engine = stack.engine()

    def are_there() -> bool:
        assert all(process.is_alive() for process in processes), "a worker ended"
        with engine.connect() as connection:
            return bool(connection.scalar(_COUNT) == len(processes))

    try:
        wait_until(are_there, "the worker to begin")
        yield processes
    finally:
        engine.dispose()
        for process in processes:
            process.terminate()
            process.join()


def _work_for_ever(stack: PipelineStack, tenant: str) -> None:
    _worker(stack, stack.s3.store(), tenant, DAY, idle_timeout_seconds=_FOR_EVER)


def _worker(
    stack: PipelineStack, store: ObjectStore, tenant: str, day: date, *, idle_timeout_seconds: float
) -> WorkerReport:
    engine = stack.engine()
    render_session = RenderSession(ServerPool(stack.comfyui_urls), None, _TIMEOUT_SECONDS)
    try:
        return RenderWorker(
            engine,
            store,
            render_session,
            ImageRenderer(engine, store, render_session),
            registration=WorkerRegistration(str(uuid4()), JobKind.IMAGE, tenant, day),
            options=WorkerOptions(idle_timeout_seconds=idle_timeout_seconds),
        ).run()
    finally:
        engine.dispose()

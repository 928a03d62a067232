"""`influencerai generate`: pictures of one prompt, ordered and waited for."""

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Annotated
from uuid import UUID, uuid4

import typer
from rich.markup import escape
from rich.table import Column, Table

from influencerai_dagster.api.dagster_graphql import DagsterGraphQL, Run
from influencerai_dagster.catalog import ledger
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.catalog.ledger import Job
from influencerai_dagster.catalog.loras import newest_lora
from influencerai_dagster.catalog.tenants import require_tenant
from influencerai_dagster.cli.common import console, engine
from influencerai_dagster.cli.content import TenantName
from influencerai_dagster.cli.orders import DayOption, dagster, day_key, order, wake
from influencerai_dagster.domain.jobs import JobKind, JobStatus
from influencerai_dagster.errors import PermanentError, TransientError

_POLL_SECONDS = 0.5


def generate(  # noqa: PLR0917 - typer calls it by name
    tenant: TenantName,
    prompt: Annotated[str, typer.Option(help="What the pictures show.")],
    lora: Annotated[
        str, typer.Option(help="Dataset whose newest LoRA is used; none by default.")
    ] = "",
    count: Annotated[int, typer.Option(min=1, max=1000)] = 1,
    negative_prompt: Annotated[str, typer.Option()] = "",
    day: DayOption = "",
    priority: Annotated[
        int, typer.Option(min=0, max=9, help="0 (last) to 9 (first) among the tenant's own jobs.")
    ] = 5,
    idempotency_key: Annotated[
        str,
        typer.Option(
            help="The same key again is the same order: nothing is rendered twice, and the command "
            "waits for the jobs of the first time. With --count above 1 the jobs have the keys "
            "KEY/0, KEY/1, …; without it every call is a new order."
        ),
    ] = "",
) -> None:
    """Render pictures of one prompt and wait for them."""
    key = day_key(tenant, day)
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        if lora and newest_lora(session, tenant, lora) is None:
            raise PermanentError(
                f"tenant {tenant} has no LoRA of dataset {lora!r} yet: upload its photos, or wait "
                "for its training (the run is in the Dagster UI)"
            )
    prefix = idempotency_key or f"generate/{uuid4().hex}"
    job = {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "loras": [{"dataset": lora}] if lora else [],
        "priority": priority,
        "idempotency_key": prefix if count == 1 else None,
    }
    ordered = order(JobKind.IMAGE, key, [job] * count, key_prefix=prefix)
    if any(item.finished_at is None for item in ordered):
        run_id = wake(JobKind.IMAGE, key, num_jobs=count)
        with closing(dagster()) as client:
            ordered = _watch(client, run_id, tenant, {item.id for item in ordered})
    _show(ordered)
    failed = sum(item.status is not JobStatus.COMPLETED for item in ordered)
    if failed:
        raise PermanentError(f"{failed} of {count} pictures were not made: see above")


def _watch(client: DagsterGraphQL, run_id: str, tenant: str, job_ids: set[UUID]) -> list[Job]:
    """Show the jobs' progress until each has ended, or the run failed and nobody renders them.

    Another run may render them: the ledger is the record.
    """
    with console.status("waiting for the run to start") as status:
        while True:
            run = _run(client, run_id)
            with transaction(engine()) as session:
                jobs = ledger.get_jobs(session, tenant, job_ids)
            if all(job.finished_at is not None for job in jobs):
                return jobs
            is_rendering = any(job.status is JobStatus.RUNNING for job in jobs)
            if run is not None and run.status in {"FAILURE", "CANCELED"} and not is_rendering:
                reasons = "\n".join(run.failures) or f"it ended as {run.status}"
                raise TransientError(
                    f"run {run_id} did not make the pictures:\n{reasons}\nThe jobs are still in "
                    "the ledger: pending_jobs_sensor starts another run for them, "
                    f"`influencerai jobs cancel --all --tenant {tenant}` gives them up"
                )
            status.update(_line(jobs, run))
            time.sleep(_POLL_SECONDS)


def _run(client: DagsterGraphQL, run_id: str) -> Run | None:
    try:
        return client.run(run_id)
    except TransientError:
        return None  # the web server restarts: the jobs go on without it


def _line(jobs: Sequence[Job], run: Run | None) -> str:
    state = run.status.lower() if run else "not known: Dagster does not answer"
    ended = sum(job.finished_at is not None for job in jobs)
    running = [job.progress for job in jobs if job.status is JobStatus.RUNNING]
    progress = f" ({100 * sum(running) / len(running):.0f} %)" if running else ""
    return f"run {state}: {ended} of {len(jobs)} done, {len(running)} rendering{progress}"


def _show(jobs: Sequence[Job]) -> None:
    table = Table("job", Column("object key or error", overflow="fold"))
    for job in jobs:
        found = (job.result or {}).get("object_key") or job.error or job.status
        table.add_row(str(job.id), escape(str(found)))
    console.print(table)

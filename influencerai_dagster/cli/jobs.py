"""`influencerai jobs`: order jobs, see them, give them up; `watch` is in watch.py."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape
from rich.table import Column, Table

from influencerai_dagster.catalog import ledger
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.catalog.tenants import require_tenant
from influencerai_dagster.cli.common import console, engine, settings, store
from influencerai_dagster.cli.content import TenantName
from influencerai_dagster.cli.orders import DayOption, day_key, order, wake
from influencerai_dagster.cli.watch import watch_jobs
from influencerai_dagster.domain.jobs import JobKind, JobStatus
from influencerai_dagster.domain.keys import parse_day
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.stages import cancellation

jobs_app = typer.Typer(help="Generation jobs.", no_args_is_help=True)
jobs_app.command("watch")(watch_jobs)


@jobs_app.command("list")
def list_jobs(
    tenant: TenantName,
    status: Annotated[JobStatus | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
) -> None:
    """List the newest jobs of a tenant with their results or errors."""
    with transaction(engine()) as session:
        jobs = ledger.list_jobs(session, tenant, status=status, limit=limit)
    table = Table(
        Column("job", overflow="fold"),
        *("kind", "status", "try"),
        Column("submitted (UTC)", overflow="fold"),
        Column("result or error", overflow="fold", ratio=1),
    )
    for job in jobs:
        result = (job.result or {}).get("object_key", "")
        table.add_row(
            str(job.id),
            job.kind.value,
            job.status.value,
            str(job.attempt),
            f"{job.created_at:%Y-%m-%d %H:%M:%S}",
            escape(str(result or job.error or "")),
        )
    console.print(table)


@jobs_app.command("link")
def link_to_output(job_id: UUID, tenant: TenantName) -> None:
    """Print a link to a finished job's file; it works for S3_PRESIGN_SECONDS."""
    with transaction(engine()) as session:
        asset = ledger.media_asset_of_job(session, tenant, job_id)
        job = ledger.get_job(session, tenant, job_id)
    if asset is None:
        raise PermanentError(f"job {job_id} is {job.status}: it has no file to link to")
    seconds = settings().s3_presign_seconds
    console.print(store().presign_get(asset.object_key, expires_seconds=seconds), soft_wrap=True)


@jobs_app.command("submit")
def submit_jobs(
    file: Annotated[str, typer.Argument(help="A JSON list of jobs (docs/jobs.md); - is stdin.")],
    tenant: TenantName,
    kind: Annotated[JobKind, typer.Option(help="What the jobs make.")] = JobKind.IMAGE,
    day: DayOption = "",
    idempotency_key: Annotated[
        str,
        typer.Option(
            help="Jobs without a key of their own get KEY/0, KEY/1, … by their place in the list, "
            "so that the same file again is the same jobs."
        ),
    ] = "",
) -> None:
    """Order a list of jobs, all of them or none; print each job and its key, and do not wait."""
    key = day_key(tenant, day)
    jobs = order(kind, key, _read_jobs(file), key_prefix=idempotency_key or None)
    for job in jobs:
        line = f"{job.id} {job.status} {job.idempotency_key or ''}".rstrip()
        console.print(escape(line), soft_wrap=True, highlight=False)
    if any(job.finished_at is None for job in jobs):
        wake(kind, key, num_jobs=len(jobs))


@jobs_app.command("cancel")
def cancel_jobs(  # noqa: PLR0917 - typer calls it by name
    tenant: TenantName,
    job_ids: Annotated[list[UUID] | None, typer.Argument(metavar="JOB…")] = None,
    all_: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--all", help="All jobs of the tenant that have not ended.")
    ] = False,
    day: Annotated[str, typer.Option(help="With --all: only of this day, YYYY-MM-DD.")] = "",
    kind: Annotated[JobKind | None, typer.Option(help="With --all: only of this kind.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,  # noqa: FBT002
) -> None:
    """Cancel jobs that have not ended; renders that run are stopped."""
    if bool(job_ids) == all_:
        raise PermanentError("name the jobs to cancel, or --all, and not both")
    if (day or kind) and not all_:
        raise PermanentError("--day and --kind choose among --all; jobs that are named need none")
    servers = settings().comfyui_url
    if job_ids:
        for job in cancellation.cancel_jobs(engine(), tenant, job_ids, servers=servers):
            console.print(f"job {job.id} is {job.status}")
        return
    only_day = parse_day(day) if day else None
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        counts = ledger.count_by_status(session, tenant, day=only_day, kind=kind)
    pending, running = counts[JobStatus.PENDING], counts[JobStatus.RUNNING]
    question = f"Cancel {pending} pending and {running} running jobs of {tenant}?"
    if pending + running and not yes:
        typer.confirm(question, abort=True)
    cancelled = cancellation.cancel_open_jobs(
        engine(), tenant, day=only_day, kind=kind, servers=servers
    )
    console.print(f"{cancelled} jobs of {tenant} cancelled")


def _read_jobs(file: str) -> list[dict[str, Any]]:
    """Read a JSON list of objects; PermanentError says what is there instead."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        jobs = json.loads(text)
    except (OSError, ValueError) as error:
        raise PermanentError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(jobs, list):
        raise PermanentError(f"{file} holds no JSON list of jobs, but {type(jobs).__name__}")
    for index, job in enumerate(jobs):
        if not isinstance(job, dict):
            raise PermanentError(
                f"jobs[{index}] of {file} is no JSON object, but {type(job).__name__}"
            )
    return jobs

"""`influencerai jobs`: submit jobs, see them, cancel them; `watch` is in watch.py."""

import sys
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape

from influencerai_dagster.cli.common import engine, job_submitter, settings
from influencerai_dagster.cli.job_files import download, file_link, retry
from influencerai_dagster.cli.options import (
    DayOption,
    JobId,
    JobIds,
    TenantName,
    YesOption,
    day_key,
    parse_json,
    read_text,
)
from influencerai_dagster.cli.output import (
    Field,
    JsonOption,
    console,
    notes,
    print_document,
    print_json,
    print_result,
    print_rows,
)
from influencerai_dagster.cli.submissions import ensure_run_for
from influencerai_dagster.cli.watch import watch_jobs
from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import parse_day
from influencerai_dagster.core.names import json_kind
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import cancellation
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.job_documents import job_document

jobs_app = typer.Typer(help="Generation jobs.", no_args_is_help=True)
jobs_app.command("watch")(watch_jobs)
jobs_app.command("retry")(retry)
jobs_app.command("download")(download)
_FIELDS = (
    Field("job_id", "job", is_id=True),
    Field("kind"),
    Field("status"),
    Field("attempt", "try"),
    Field("submitted_at", "submitted (UTC)"),
    Field("object_key", "result", is_wide=True),
    Field("error", is_wide=True),
)


@jobs_app.command("list")
def list_jobs(  # noqa: PLR0917 - typer calls it by name
    tenant: TenantName,
    status: Annotated[JobStatus | None, typer.Option(help="Only these.")] = None,
    kind: Annotated[JobKind | None, typer.Option(help="Only these.")] = None,
    day: Annotated[str, typer.Option(help="Only this day, YYYY-MM-DD.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """List the newest jobs of a tenant with their results or errors."""
    only_day = parse_day(day) if day else None
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        jobs = job_queue.list_jobs(
            session, tenant, status=status, kind=kind, day=only_day, limit=limit
        )
    print_rows([job_document(job) for job in jobs], _FIELDS, as_json=as_json)


@jobs_app.command("show")
def show_job(job_id: JobId, tenant: TenantName, as_json: JsonOption = False) -> None:  # noqa: FBT002
    """Show a job: what it asks for, how far it is, what it made or why it failed."""
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        job = job_queue.get_job(session, tenant, job_id)
    print_document(job_document(job), as_json=as_json)


@jobs_app.command("link")
def link_to_output(job_id: JobId, tenant: TenantName, as_json: JsonOption = False) -> None:  # noqa: FBT002
    """Print a link to a finished job's file; it works for S3_PRESIGN_SECONDS."""
    link, seconds = file_link(tenant, job_id), settings().s3.presign_seconds
    print_result(
        {"job_id": job_id, "url": link, "expires_in_seconds": seconds}, link, as_json=as_json
    )


@jobs_app.command("submit")
def submit_jobs(  # noqa: PLR0917 - typer calls it by name
    file: Annotated[str, typer.Argument(help="A JSON list of jobs (docs/jobs.md); - is stdin.")],
    tenant: TenantName,
    kind: Annotated[JobKind, typer.Option(help="Kind of the jobs.")] = JobKind.IMAGE,
    day: DayOption = "",
    idempotency_key: Annotated[
        str,
        typer.Option(
            help="Jobs without a key of their own get KEY/0, KEY/1, … by their index in the list, "
            "so that the same file again is the same jobs."
        ),
    ] = "",
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Submit a list of jobs, all of them or none; print each job and its key, and do not wait."""
    key = day_key(tenant, day)
    prefix = idempotency_key or None
    jobs = job_submitter().submit(kind, key, _read_jobs(file), key_prefix=prefix)
    if as_json:
        print_json([job_document(job) for job in jobs])
    else:
        for job in jobs:
            line = f"{job.id} {job.status} {job.idempotency_key or ''}".rstrip()
            console.print(escape(line), soft_wrap=True, highlight=False)
    if any(job.finished_at is None for job in jobs):
        ensure_run_for(kind, key, num_jobs=len(jobs))


@jobs_app.command("cancel")
def cancel_jobs(  # noqa: PLR0917 - typer calls it by name
    tenant: TenantName,
    job_ids: JobIds = None,
    all_: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--all", help="All jobs of the tenant that have not ended.")
    ] = False,
    day: Annotated[str, typer.Option(help="With --all: only of this day, YYYY-MM-DD.")] = "",
    kind: Annotated[JobKind | None, typer.Option(help="With --all: only of this kind.")] = None,
    yes: YesOption = False,  # noqa: FBT002 - typer's flag
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Cancel jobs that have not ended; renders that run are stopped.

    Exit code 1 if one of the named jobs had ended before.
    """
    if bool(job_ids) == all_:
        raise PermanentError("name the jobs to cancel, or --all, and not both")
    if (day or kind) and not all_:
        raise PermanentError("--day and --kind choose among --all; jobs that are named need none")
    if job_ids:
        _cancel_named(tenant, job_ids, as_json=as_json)
        return
    only_day = parse_day(day) if day else None
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        counts = job_queue.count_by_status(session, tenant, day=only_day, kind=kind)
    pending, running = counts[JobStatus.PENDING], counts[JobStatus.RUNNING]
    question = f"Cancel {pending} pending and {running} running jobs of {tenant}?"
    if pending + running and not yes:
        typer.confirm(question, abort=True, err=True)
    cancelled = cancellation.cancel_open_jobs(
        engine(), tenant, day=only_day, kind=kind, servers=settings().comfyui.urls
    )
    print_result(
        {"tenant": tenant, "num_cancelled": cancelled},
        f"{cancelled} jobs of {tenant} cancelled",
        as_json=as_json,
    )


def _cancel_named(tenant: str, job_ids: list[UUID], *, as_json: bool) -> None:
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        before = {job.id: job for job in job_queue.get_jobs(session, tenant, job_ids)}
    jobs = cancellation.cancel_jobs(engine(), tenant, job_ids, servers=settings().comfyui.urls)
    if as_json:
        print_json([job_document(job) for job in jobs])
    late = [job for job in jobs if before[job.id].finished_at is not None]
    for job in jobs:
        if job in late:
            ended = f"{job.finished_at:%Y-%m-%d %H:%M:%S}"
            notes.print(
                f"job {job.id} had ended before: it is {job.status} since {ended} UTC, and stays "
                "so",
                soft_wrap=True,
            )
        elif not as_json:
            console.print(f"job {job.id} is {job.status}", soft_wrap=True, highlight=False)
    if late:
        raise typer.Exit(1)


def _read_jobs(file: str) -> list[dict[str, Any]]:
    """Read a JSON list of objects; PermanentError names what was found instead."""
    text, what = (sys.stdin.read(), "standard input") if file == "-" else (None, file)
    jobs: list[Any] = parse_json(text if text is not None else read_text(Path(file)), what, list)
    for index, job in enumerate(jobs):
        if not isinstance(job, dict):
            raise PermanentError(
                f"jobs[{index}] of {what} must be an object in JSON, but it is {json_kind(job)}"
            )
    return jobs

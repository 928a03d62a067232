"""`influencerai jobs`: what is in the job ledger."""

from typing import Annotated
from uuid import UUID

import typer
from rich.markup import escape
from rich.table import Column, Table

from influencerai_dagster.catalog import ledger
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.cli.common import console, engine, settings, store
from influencerai_dagster.cli.content import TenantName
from influencerai_dagster.domain.jobs import JobStatus
from influencerai_dagster.errors import PermanentError

jobs_app = typer.Typer(help="Generation jobs.", no_args_is_help=True)


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


@jobs_app.command("cancel")
def cancel_job(job_id: UUID, tenant: TenantName) -> None:
    """Cancel a job that is not finished."""
    with transaction(engine()) as session:
        job = ledger.cancel(session, tenant, job_id)
    console.print(f"job {job.id} is {job.status}")

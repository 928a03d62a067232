"""Commands `influencerai jobs retry | download | link`: retry failed jobs, get files of others."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from influencerai_dagster.cli.common import engine, job_submitter, settings, store
from influencerai_dagster.cli.options import JobIds, TenantName, day_key
from influencerai_dagster.cli.output import Field, JsonOption, notes, print_result, print_rows
from influencerai_dagster.cli.submissions import ensure_run_for
from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import parse_day
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.downloads import download_files, download_zip
from influencerai_dagster.generation.job_documents import job_document
from influencerai_dagster.generation.queue import MediaAsset

_FIELDS = (
    Field("job_id", "new job", is_id=True),
    Field("kind"),
    Field("status"),
    Field("idempotency_key", "key", is_wide=True),
)

OnlyDay = Annotated[str, typer.Option(help="All of this day, YYYY-MM-DD.")]
OnlyKind = Annotated[JobKind | None, typer.Option(help="With --day: only of this kind.")]


def retry(
    tenant: TenantName,
    job_ids: JobIds = None,
    day: Annotated[str, typer.Option(help="All failed jobs of this day, YYYY-MM-DD.")] = "",
    kind: OnlyKind = None,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Submit failed or cancelled jobs again as new jobs of today; asking twice is one retry."""
    _check_choice(job_ids, day)
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        if day:
            failed = job_queue.list_jobs(
                session,
                tenant,
                day=parse_day(day),
                kind=kind,
                status=JobStatus.FAILED,
                limit=None,
            )
            job_ids = [job.id for job in failed]
    jobs = job_submitter().retry(day_key(tenant, ""), job_ids or [])
    print_rows([job_document(job) for job in jobs], _FIELDS, as_json=as_json)
    for one_kind in JobKind:
        is_open = [job for job in jobs if job.kind is one_kind and job.finished_at is None]
        for on_day in sorted({job.day_key for job in is_open}):
            ensure_run_for(one_kind, on_day, num_jobs=len(is_open))


def download(  # noqa: PLR0917 - typer calls it by name
    tenant: TenantName,
    job_ids: JobIds = None,
    day: OnlyDay = "",
    kind: OnlyKind = None,
    to: Annotated[
        Path, typer.Option(help="A folder, or a file that ends in .zip; it is made.")
    ] = Path(),
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Save the files of jobs, or of a whole day; run it again to go on where it stopped.

    A file is named by its job. An existing file with other content is never overwritten.
    """
    _check_choice(job_ids, day)
    assets = _assets(tenant, job_ids, day, kind)
    columns = (TextColumn("download"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=notes, transient=True) as progress:
        bar = progress.add_task("download", total=len(assets))
        save = download_zip if to.suffix == ".zip" else download_files
        number = save(store(), assets, to, lambda _path, _is_new: progress.advance(bar))
    size = sum(asset.size_bytes for asset in assets)
    print_result(
        {"to": str(to.absolute()), "num_files": len(assets), "num_downloaded": number}
        | {"size_bytes": size, "job_ids": [asset.job_id for asset in assets]},
        f"{number} {'file' if number == 1 else 'files'} saved to {to.absolute()}"
        + (f", {len(assets) - number} existed already" if number < len(assets) else ""),
        as_json=as_json,
    )


def file_link(tenant: str, job_id: UUID) -> str:
    """Return a link to the file of a job; it works for S3_PRESIGN_SECONDS.

    Raises:
        PermanentError: the job or its file is not there.
    """
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        job = job_queue.get_job(session, tenant, job_id)
        asset = job_queue.media_asset_of_job(session, tenant, job_id)
    if asset is None:
        raise PermanentError(f"job {job_id} is {job.status}: it has no file to link to")
    return store().presign_get(asset.object_key, expires_seconds=settings().s3.presign_seconds)


def _assets(
    tenant: str, job_ids: list[UUID] | None, day: str, kind: JobKind | None
) -> list[MediaAsset]:
    """Return what to save; PermanentError if a job that is named has no file."""
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        jobs = [job_queue.get_job(session, tenant, job_id) for job_id in job_ids or []]
        only_day = parse_day(day) if day else None
        assets = job_queue.media_assets(session, tenant, job_ids=job_ids, day=only_day, kind=kind)
    found = {asset.job_id for asset in assets}
    for job in jobs:
        if job.id not in found:
            gone = "its file was deleted by retention" if job.result else "it has no file"
            raise PermanentError(f"job {job.id} is {job.status}: {gone}; nothing was downloaded")
    if not assets:
        raise PermanentError(f"tenant {tenant} has no files of {day}: nothing to download")
    return assets


def _check_choice(job_ids: list[UUID] | None, day: str) -> None:
    if bool(job_ids) == bool(day):
        raise PermanentError("name the jobs, or --day, and not both")

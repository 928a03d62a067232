"""Build the metadata of a generation run for the Dagster UI: images, a table of jobs, times.

A run shows what it rendered itself, and the jobs of its own run config, whichever run rendered
them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles
from textwrap import shorten
from uuid import UUID

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.core.manifests.outputs import DayManifest, OutputManifest
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.generation.queue import Job
from influencerai_dagster.generation.worker.options import FinishedJob, WorkerReport
from influencerai_dagster.media.contact_sheets import contact_sheet
from influencerai_dagster.orchestration.metadata import (
    MAX_ROWS,
    SHEET_COLUMNS,
    THUMB_PX,
    Metadata,
    file_links,
    inline_image,
    table,
)
from influencerai_dagster.storage.object_store import ObjectStore

_SHEET_OUTPUTS = 12
_LINKED_OUTPUTS = 100
_PROMPT_LENGTH = 120


@dataclass(frozen=True)
class JobTableRow:
    """A row of the table of jobs.

    Attributes:
        seconds: how long a server executed it; None while it has not ended.
        wait_seconds: from submission to the first claim, and in the server's queue where this run
            saw that; None while it was never claimed.
        server: where it was rendered, without credentials.
    """

    job_id: UUID
    status: JobStatus
    prompt: str
    object_key: str
    error: str
    attempt: int | None
    server: str
    wait_seconds: float | None
    seconds: float | None

    @classmethod
    def of_finished(cls, job: FinishedJob, row: Job | None) -> "JobTableRow":
        """Make it from a job that this run worked on.

        Args:
            row: the job as it is now: after a failed attempt it may wait for the next one.
        """
        ended = JobStatus.FAILED if job.output is None else JobStatus.COMPLETED
        return cls(
            job_id=job.job_id,
            status=ended if row is None else row.status,
            prompt=_prompt(job.output.sampling if job.output else row and row.payload),
            object_key="" if job.output is None else job.output.file.object_key,
            error=job.error or "",
            attempt=job.attempt,
            server=job.server or "",
            wait_seconds=job.wait_seconds,
            seconds=job.seconds,
        )

    @classmethod
    def of_row(cls, job: Job) -> "JobTableRow":
        """Make it from a job of the job queue, which another run may have rendered."""
        return cls(
            job_id=job.id,
            status=job.status,
            prompt=_prompt(job.payload),
            object_key=str((job.result or {}).get("object_key", "")),
            error=job.error or "",
            attempt=job.attempt,
            server=job.server or "",
            wait_seconds=job.wait_seconds,
            seconds=None if job.finished_at is None else job.gpu_seconds,
        )

    def row(self) -> dict[str, str | int | float]:
        """Return the cells of the row; an empty text is "not known"."""
        return {
            "job_id": str(self.job_id),
            "status": self.status.value,  # Dagster stores a member of an enum as one of its own
            "prompt": shorten(self.prompt, _PROMPT_LENGTH, placeholder=" …"),
            "error": self.error,
            "seconds": "" if self.seconds is None else round(self.seconds, 2),
            "wait_seconds": "" if self.wait_seconds is None else round(self.wait_seconds, 2),
            "object_key": self.object_key,
            "attempt": "" if self.attempt is None else self.attempt,
            "server": self.server,
        }


def rendering_metadata(
    store: ObjectStore,
    manifest: DayManifest,
    report: WorkerReport,
    rows: Sequence[Job],
    *,
    own_ids: Collection[UUID],
    worker_seconds: float,
) -> Metadata:
    """Return the metadata of one run, in the order of their importance to an operator.

    Args:
        manifest: of the day.
        report: what the run's worker did.
        rows: the run's own jobs, and those that failed in it, as the job queue has them now.
        own_ids: the jobs of the run's own config.
        worker_seconds: from the start of the worker to the end of its last job.
    """
    facts = job_facts(report, rows, own_ids)
    shown = report.completed[-_SHEET_OUTPUTS:]
    metadata: Metadata = {}
    if shown:
        images = ((_label(output), store.read(_still(output))) for output in shown)
        sheet = contact_sheet(images, SHEET_COLUMNS, THUMB_PX)
        metadata["contact_sheet"] = inline_image(sheet, "outputs of this run")
        metadata["files"] = file_links(
            (", ".join(filter(None, _label(output))), output.file.object_key)
            for output in report.completed[-_LINKED_OUTPUTS:]
        )
    for status in (JobStatus.COMPLETED, JobStatus.FAILED):
        metadata[status.value] = sum(job.status == status for job in facts)
    metadata |= _times(report, worker_seconds)
    metadata["outputs_of_day"] = len(manifest.outputs)
    # The long table comes last: entries below it would not be seen.
    if len(facts) > MAX_ROWS:
        metadata["jobs_not_in_the_table"] = len(facts) - MAX_ROWS
    metadata["jobs"] = table([job.row() for job in facts])
    return metadata


def job_facts(
    report: WorkerReport, rows: Sequence[Job], own_ids: Collection[UUID]
) -> list[JobTableRow]:
    """Return the jobs of a run: failed ones first, then those of its own config, then the others.

    A job that the run tried several times is shown with its last attempt.
    """
    now = {job.id: job for job in rows}
    facts = {job.job_id: JobTableRow.of_finished(job, now.get(job.job_id)) for job in report.jobs}
    elsewhere = [JobTableRow.of_row(job) for job in rows if job.id not in facts]
    return sorted(
        [*elsewhere, *facts.values()], key=lambda job: (not job.error, job.job_id not in own_ids)
    )


def _times(report: WorkerReport, worker_seconds: float) -> Metadata:
    """Return how fast the run was; nothing without a completed job."""
    completed = [job for job in report.jobs if job.output is not None]
    if not completed:
        return {}
    seconds = [job.seconds for job in completed]
    waits = [job.wait_seconds for job in completed]
    times = {
        "seconds_per_job_mean": fmean(seconds),
        "seconds_per_job_p95": percentile(seconds, 95),
        "wait_seconds_p50": percentile(waits, 50),
        "wait_seconds_p95": percentile(waits, 95),
        "jobs_per_minute": len(completed) * 60 / worker_seconds,
    }
    return {label: round(value, 2) for label, value in times.items() if value is not None}


def _still(output: OutputManifest) -> StoredFile:
    return output.poster or output.file


def _label(output: OutputManifest) -> tuple[str, ...]:
    sampling = output.sampling
    prompt = shorten(_prompt(sampling), _PROMPT_LENGTH, placeholder=" …")
    seed = getattr(sampling, "seed", None)  # not every kind has one
    parts = (None if seed is None else f"seed {seed}", f"job {str(output.job_id)[:8]}")
    return prompt, ", ".join(filter(None, parts))


def _prompt(source: object) -> str:
    """Return the prompt of a job's payload or of its sampling; a video does not have one."""
    return str(getattr(source, "prompt", ""))


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Return the value below which `percent` of all values lie; None without any.

    Between two values it is interpolated, as PostgreSQL's percentile_cont does.

    Args:
        values: in any order.
        percent: 1 to 99.
    """
    if not values:
        return None
    if len(values) == 1:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]

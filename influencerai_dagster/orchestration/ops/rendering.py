"""Ops `render_images` and `render_videos`: each drains the job ledger of one tenant-day.

Draining lives in stages/rendering.py, one render in stages/images.py and stages/videos.py.
"""

from typing import Any

import dagster as dg
from pydantic import Field, ValidationError

from influencerai_dagster.catalog import ledger
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.domain.jobs import JobKind, JobRequest
from influencerai_dagster.domain.keys import DayKey
from influencerai_dagster.domain.manifests.outputs import DayManifest, OutputManifest, StoredFile
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.contact_sheets import contact_sheet
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.metadata import (
    SHEET_COLUMNS,
    THUMB_PX,
    Metadata,
    picture,
    table,
)
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.engines import ComfyUIResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.orchestration.resources.studio import StudioResource
from influencerai_dagster.stages.drain_reports import DrainReport, FinishedJob
from influencerai_dagster.stages.images import ImageRenderer
from influencerai_dagster.stages.job_work import Renderer
from influencerai_dagster.stages.rendering import DrainRules, drain
from influencerai_dagster.stages.videos import VideoRenderer
from influencerai_dagster.storage.object_store import ObjectStore

_SHEET_OUTPUTS = 24


class GenerationConfig(dg.Config):
    """Run config of `render_images` and `render_videos`.

    Attributes:
        jobs: jobs to put into the ledger first, each a payload as docs/jobs.md describes it, with
            `idempotency_key` and `priority` beside its fields. Without any, the run renders what is
            pending.
    """

    jobs: list[dict[str, Any]] = Field(default_factory=list)


@dg.op(pool="image_generation", code_version="1", ins={"lora_weights": dg.In(dg.Nothing)})
def render_images(
    context: dg.OpExecutionContext,
    config: GenerationConfig,
    object_store: ObjectStoreResource,
    catalog: CatalogResource,
    comfyui: ComfyUIResource,
    studio: StudioResource,
) -> dg.Output[DayManifest]:
    """Render the pending pictures of one tenant-day through ComfyUI."""
    renderer = ImageRenderer(catalog.engine, object_store.store, comfyui.farm())
    return _run(context, config, JobKind.IMAGE, renderer, object_store, catalog, studio)


@dg.op(pool="video_generation", code_version="1", ins={"generated_images": dg.In(dg.Nothing)})
def render_videos(
    context: dg.OpExecutionContext,
    config: GenerationConfig,
    object_store: ObjectStoreResource,
    catalog: CatalogResource,
    comfyui: ComfyUIResource,
    studio: StudioResource,
) -> dg.Output[DayManifest]:
    """Render the pending clips of one tenant-day through ComfyUI and ffmpeg."""
    renderer = VideoRenderer(catalog.engine, object_store.store, comfyui.farm())
    return _run(context, config, JobKind.VIDEO, renderer, object_store, catalog, studio)


def parse_jobs(kind: JobKind, jobs: list[dict[str, Any]], run_id: str) -> list[JobRequest]:
    """Turn jobs of a run config into requests; one without an idempotency key gets the run's.

    A retried run asks with the id of the run it repeats: its jobs are the same jobs.

    Raises:
        PermanentError: a job has an unknown or a bad field; the text names the job and the field.
    """
    requests = []
    for index, job in enumerate(jobs):
        fields = dict(job)
        idempotency_key = fields.pop("idempotency_key", None) or f"{run_id}/{index}"
        priority = fields.pop("priority", JobRequest.model_fields["priority"].default)
        try:
            requests.append(
                JobRequest.model_validate(
                    {
                        "payload": {**fields, "kind": kind},
                        "idempotency_key": idempotency_key,
                        "priority": priority,
                    }
                )
            )
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"][2:]) or "the job"
            raise PermanentError(
                f"jobs[{index}] cannot be used: {field}: {first['msg']} "
                f"(found {str(first['input'])[:80]!r})"
            ) from error
    return requests


def _run(
    context: dg.OpExecutionContext,
    config: GenerationConfig,
    kind: JobKind,
    renderer: Renderer,
    object_store: ObjectStoreResource,
    catalog: CatalogResource,
    studio: StudioResource,
) -> dg.Output[DayManifest]:
    with dagster_failures(context.retry_number):
        day = DayKey.parse(context.partition_key)
        with transaction(catalog.engine) as session:
            own_jobs = ledger.submit(
                session,
                day.tenant,
                day.day,
                parse_jobs(kind, config.jobs, context.run.root_run_id or context.run_id),
                max_pending=studio.max_pending_jobs_per_tenant,
            )
        report = drain(
            catalog.engine,
            kind,
            day,
            renderer,
            owner=context.run_id,
            rules=DrainRules(linger_seconds=studio.generation_linger_seconds),
            on_finished=lambda job: _log(context, job),
            own_jobs=[job.id for job in own_jobs],
        )
        with transaction(catalog.engine) as session:
            outputs = ledger.outputs_of_day(session, day, kind)
        manifest = DayManifest(
            tenant=day.tenant, day=day.day, kind=_PLURALS[kind], outputs=tuple(outputs)
        )
        return dg.Output(
            manifest,
            metadata=_metadata(object_store.store, manifest, report),
            data_version=dg.DataVersion(manifest.version),
        )


_PLURALS = {JobKind.IMAGE: "images", JobKind.VIDEO: "videos"}


def _log(context: dg.OpExecutionContext, job: FinishedJob) -> None:
    if job.output is None:
        context.log.error(f"job {job.job_id} failed: {job.error}")
    else:
        context.log.info(
            f"job {job.job_id} is {job.output.file.object_key} "
            f"(waited {job.wait_seconds:.1f} s, took {job.seconds:.1f} s)"
        )


def _metadata(store: ObjectStore, manifest: DayManifest, report: DrainReport) -> Metadata:
    facts: Metadata = {
        "outputs_of_day": len(manifest.outputs),
        "completed": report.num_completed,
        "failed": report.num_failed,
        "jobs": table([_row(job) for job in report.jobs]),
    }
    shown = report.completed[-_SHEET_OUTPUTS:]
    if shown:
        pictures = ((_label(output), store.read(_still(output))) for output in shown)
        sheet = contact_sheet(pictures, SHEET_COLUMNS, THUMB_PX)
        facts["contact_sheet"] = picture(sheet, "outputs of this run")
    return facts


def _row(job: FinishedJob) -> dict[str, str | int | float]:
    return {
        "job_id": str(job.job_id),
        "object_key": job.output.file.object_key if job.output else "",
        "seconds": round(job.seconds, 2),
        "wait_seconds": round(job.wait_seconds, 2),
        "error": job.error or "",
    }


def _still(output: OutputManifest) -> StoredFile:
    return output.poster or output.file


def _label(output: OutputManifest) -> str:
    return str(output.job_id)[:8]

"""Command `influencerai generate`: submit images of one prompt, and videos of them, and wait."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer

from influencerai_dagster.cli.common import engine, job_submitter, store
from influencerai_dagster.cli.options import DayOption, TenantName, day_key, read_text
from influencerai_dagster.cli.output import Field, JsonOption, next_step, notes, print_rows
from influencerai_dagster.cli.submissions import ensure_run_for
from influencerai_dagster.cli.web_server import dagster
from influencerai_dagster.core.dagster_names import CANCELED, FAILURE
from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import DatasetKey, DayKey
from influencerai_dagster.core.platforms import VideoPreset
from influencerai_dagster.dagster_client.client import DagsterGraphQL, Run
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.loras import newest_lora
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.job_documents import job_document
from influencerai_dagster.generation.queue import Job
from influencerai_dagster.generation.submission import check_job
from influencerai_dagster.training.dataset_names import require_dataset

_POLL_SECONDS = 0.5
_FIELDS = (
    Field("job_id", "job", is_id=True),
    Field("kind"),
    Field("status"),
    Field("object_key", "object key", is_wide=True),
    Field("error", is_wide=True),
)


def generate(  # noqa: PLR0917 - typer calls it by name
    tenant: TenantName,
    prompt: Annotated[str, typer.Option(help="Text prompt of the images.")],
    lora: Annotated[
        str, typer.Option(help="Dataset whose newest LoRA is used; none by default.")
    ] = "",
    count: Annotated[int, typer.Option(min=1, max=1000)] = 1,
    negative_prompt: Annotated[str, typer.Option()] = "",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the first image, the next one has seed + 1.")
    ] = None,
    day: DayOption = "",
    priority: Annotated[
        int, typer.Option(min=0, max=9, help="0 (last) to 9 (first) among the tenant's own jobs.")
    ] = 5,
    idempotency_key: Annotated[
        str,
        typer.Option(
            help="The same key again is the same jobs: nothing is rendered twice, and the command "
            "waits for the jobs of the first time. With --count above 1 the jobs have the keys "
            "KEY/0, KEY/1, …; without it every call submits new jobs."
        ),
    ] = "",
    video: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--video", help="Make a video of every image too.")
    ] = False,
    platform: Annotated[VideoPreset, typer.Option(help="Platform that publishes the video.")] = (
        VideoPreset.INSTAGRAM_REEL
    ),
    seconds: Annotated[
        float | None, typer.Option(min=0.5, help="Length of the video; one segment by default.")
    ] = None,
    motion: Annotated[
        int, typer.Option(min=1, max=1023, help="How much the video moves (motion_bucket_id).")
    ] = 127,
    subtitles: Annotated[
        Path | None, typer.Option(help="An SRT file that is burned into the video.")
    ] = None,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Render images of one prompt, and videos of them, and wait for them."""
    if not video and (seconds is not None or subtitles is not None):
        raise PermanentError("--seconds and --subtitles describe a video: add --video")
    _require_lora(tenant, lora)
    image = {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "loras": [{"dataset": lora}] if lora else [],
        "priority": priority,
    }
    images = [image if seed is None else image | {"seed": seed + index} for index in range(count)]
    video_fields: Mapping[str, Any] = {
        "preset": platform.value,
        "duration_seconds": seconds,
        "motion_bucket_id": motion,
        "subtitles_srt": None if subtitles is None else read_text(subtitles),
        "priority": priority,
    }
    wanted_video = video_fields if video else None
    jobs = _render_all(day_key(tenant, day), images, wanted_video, idempotency_key)
    _report(tenant, jobs, as_json=as_json)


def _require_lora(tenant: str, dataset: str) -> None:
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        if not dataset or newest_lora(session, tenant, dataset) is not None:
            return
    require_dataset(engine(), store(), DatasetKey(tenant, dataset))
    raise PermanentError(
        f"dataset {dataset!r} of tenant {tenant!r} has no LoRA yet: `influencerai dataset status "
        f"{dataset} --tenant {tenant}` shows how far it is and what it waits for"
    )


def _render_all(
    key: DayKey,
    images: Sequence[Mapping[str, Any]],
    video_fields: Mapping[str, Any] | None,
    idempotency_key: str,
) -> list[Job]:
    """Render images, and a video of each image that was made, unless `video_fields` is None."""
    prefix = idempotency_key or f"generate/{uuid4().hex}"
    if video_fields is not None:
        check_job(JobKind.VIDEO, {**video_fields, "source_job_id": uuid4()})
    jobs = _render(JobKind.IMAGE, key, images, prefix)
    made = [job.id for job in jobs if job.status is JobStatus.COMPLETED]
    if video_fields is None or not made:
        return jobs
    videos = [
        {**video_fields, "source_job_id": job_id, "idempotency_key": f"{prefix}/video/{job_id}"}
        for job_id in made
    ]
    return jobs + _render(JobKind.VIDEO, key, videos, prefix)


def _render(
    kind: JobKind, key: DayKey, jobs: Sequence[Mapping[str, Any]], prefix: str
) -> list[Job]:
    """Submit jobs of one kind and wait for them."""
    keyed = [{"idempotency_key": prefix, **jobs[0]}] if len(jobs) == 1 else jobs
    submitted = job_submitter().submit(kind, key, keyed, key_prefix=prefix)
    if all(job.finished_at is not None for job in submitted):
        return submitted
    run_id = ensure_run_for(kind, key, num_jobs=len(jobs))
    with closing(dagster()) as client:
        return _watch(client, run_id, key.tenant, {job.id for job in submitted})


def _report(tenant: str, jobs: Sequence[Job], *, as_json: bool) -> None:
    """Print the jobs and what to do next; PermanentError if one of them made nothing."""
    print_rows([job_document(job) for job in jobs], _FIELDS, as_json=as_json)
    # Of an image and its video, the video is what was asked for.
    done = next((job for job in reversed(jobs) if job.status is JobStatus.COMPLETED), None)
    if done is not None:
        next_step(
            f"`influencerai open {done.id} --tenant {tenant}` shows it, `influencerai jobs "
            f"download {done.id} --tenant {tenant}` saves it"
        )
    failed = sum(job.status is not JobStatus.COMPLETED for job in jobs)
    if failed:
        raise PermanentError(
            f"{failed} of {len(jobs)} jobs did not complete: the reason of each is above"
        )


def _watch(client: DagsterGraphQL, run_id: str, tenant: str, job_ids: set[UUID]) -> list[Job]:
    """Show the jobs' progress until each has ended, or the run failed and no other renders them.

    Another run may render them: the job queue is the record.
    """
    with notes.status("waiting for the run to start") as status:
        while True:
            run = _run(client, run_id)
            with transaction(engine()) as session:
                jobs = job_queue.get_jobs(session, tenant, job_ids)
            if all(job.finished_at is not None for job in jobs):
                return jobs
            is_rendering = any(job.status is JobStatus.RUNNING for job in jobs)
            if run is not None and run.status in {FAILURE, CANCELED} and not is_rendering:
                reasons = "\n".join(run.failures) or f"it ended as {run.status}"
                raise TransientError(
                    f"run {run_id} did not make them:\n{reasons}\nThe jobs are still in "
                    "the job queue: another run is started for them by itself, "
                    f"`influencerai jobs cancel --all --tenant {tenant}` cancels them"
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

"""Run the main job on sample photos: a tenant, an influencer, uploads, jobs; then watch.

Dagster's sensors and runs do everything between upload and video; stack.py starts the stack.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.markup import escape
from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import FAILURE
from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import DatasetKey, DayKey, today
from influencerai_dagster.core.object_paths import uploads_prefix
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.dagster_client.dataset_builds import start_build
from influencerai_dagster.db import tenants
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import ImageJobPayload
from influencerai_dagster.generation.submission import JobSubmitter
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.uploads import upload_folder

TENANT = "demo"
INFLUENCER = "bella"
PROMPTS = (
    "at the beach at sunset",
    "in a cafe, reading",
    "in a night street with neon lights",
    "studio portrait, soft light",
)
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Output:
    """An image or a video that the user wants to open."""

    prompt: str
    object_key: str


@dataclass(frozen=True)
class StageResult:
    """One finished asset of the demo.

    Attributes:
        partition_key: of the asset.
        seconds: since the stage before was finished; None if an earlier demo made it.
        outputs: the images or videos; empty for other assets.
    """

    asset: str
    partition_key: str
    made: str
    object_key: str
    size_bytes: int
    seconds: float | None
    outputs: tuple[Output, ...] = ()


@dataclass(frozen=True)
class Demo:
    """The demo on a running stack.

    Attributes:
        samples: the folder of photos to upload.
        announce: prints a line.
        show: displays the current stage and its progress, until the next call.
        time_limit_seconds: stop waiting after this time.
    """

    engine: Engine
    store: ObjectStore
    dagster: DagsterGraphQL
    samples: Path
    announce: Callable[[str], None]
    show: Callable[[str], None]
    time_limit_seconds: float = 900.0

    def run(self) -> list[StageResult]:
        """Upload photos, submit jobs, and wait; return the stages in their order.

        Raises:
            PermanentError: a run or a job failed; the text has its reason.
            TransientError: a stage is not finished within the time limit.
        """
        started = time.time()
        day = DayKey(TENANT, today())
        num_sent, jobs = self._upload_and_submit(day)
        # Unchanged photos are the same content: what was made of them stays, whenever it was made.
        not_before = started if num_sent else 0.0
        dataset_key = str(DatasetKey(TENANT, INFLUENCER))
        line = partial(self._newest_log_line, _LogEnd(), dataset_key, started)
        stages = [
            _Stage(asset, dataset_key, partial(self._seen_asset, asset, not_before), line)
            for asset in ("dataset", "captions", "lora_weights", "lora_samples")
        ]
        for asset, submitted in (("generated_images", jobs[:-1]), ("generated_videos", jobs[-1:])):
            look, progress = partial(self._seen_jobs, submitted), partial(self._progress, submitted)
            stages.append(_Stage(asset, str(day), look, progress))
        results: list[StageResult] = []
        previous = started
        for number, stage in enumerate(stages, start=1):
            seen = self._wait(stage, f"{number} of {len(stages)}", day, started)
            seconds = max(0.0, seen.at - previous) if seen.at > started else None
            result = StageResult(
                asset=stage.asset,
                partition_key=stage.partition_key,
                made=seen.made,
                object_key=seen.object_key,
                size_bytes=seen.size_bytes,
                seconds=seconds,
                outputs=seen.outputs,
            )
            results.append(result)
            previous = max(previous, seen.at)
            took = "from an earlier run" if seconds is None else f"{seconds:.1f} s"
            self.announce(f"[green]✓[/] {stage.asset}: {seen.made} ({took})")
        self._wait_for_runs(day, started)
        return results

    def _upload_and_submit(self, day: DayKey) -> tuple[int, list[job_queue.Job]]:
        """Add the tenant and its influencer, upload photos, submit images and a video."""
        key = DatasetKey(TENANT, INFLUENCER)
        with transaction(self.engine) as session:
            tenants.add_tenant(session, TENANT)
            tenants.put_influencer(
                session,
                TENANT,
                INFLUENCER,
                dataset=INFLUENCER,
                trigger_phrase="bella",
                class_caption="drawn woman",
                name="Bella",
            )
        num_sent = upload_folder(self.store, key, self.samples, lambda _path, _sent: None)
        target = f"s3://{self.store.bucket}/{uploads_prefix(key)}"
        self.announce(f"{num_sent} files uploaded to {target}")
        if num_sent:
            start_build(self.dagster, self.engine, self.store, key)
        prefix = f"demo/{uuid4().hex}"
        lora = {"dataset": INFLUENCER}
        requests = [{"prompt": f"bella, {prompt}", "loras": [lora]} for prompt in PROMPTS]
        images = self._submit(JobKind.IMAGE, day, requests, f"{prefix}/images")
        video = {"source_job_id": images[0].id}
        videos = self._submit(JobKind.VIDEO, day, [video], f"{prefix}/videos")
        self.announce(f"{len(images)} images and {len(videos)} video submitted for {day}")
        return num_sent, images + videos

    def _submit(
        self, kind: JobKind, day: DayKey, jobs: list[dict[str, Any]], key_prefix: str
    ) -> list[job_queue.Job]:
        return JobSubmitter(self.engine).submit(kind, day, jobs, key_prefix=key_prefix)

    def _wait_for_runs(self, day: DayKey, started: float) -> None:
        """Wait for the idle timeout of the runs: they materialize their assets at their end."""
        while time.time() - started < self.time_limit_seconds:
            alive = [
                run
                for run in self.dagster.runs(str(day), created_after=started)
                if not run.is_finished
            ]
            if not alive:
                return
            self.show(f"{alive[0].job_name} waits for more jobs before it ends")
            time.sleep(_POLL_SECONDS)

    def _wait(self, stage: "_Stage", number: str, day: DayKey, started: float) -> "_FinishedStage":
        """Wait until the stage is finished; a failed run or the time limit is an error."""
        began = time.time()
        while time.time() - started < self.time_limit_seconds:
            seen = stage.look()
            if seen is not None:
                return seen
            line = f"stage {number}: {stage.asset}, {time.time() - began:.0f} s"
            self.show(f"{line}  [dim]{escape(stage.progress())}[/]")
            for key in (str(DatasetKey(TENANT, INFLUENCER)), str(day)):
                for run in self.dagster.runs(key, created_after=started):
                    if run.status == FAILURE:
                        reasons = "\n".join(run.failures)
                        raise PermanentError(f"{run.job_name} run {run.run_id} failed:\n{reasons}")
            time.sleep(_POLL_SECONDS)
        raise TransientError(
            f"{stage.asset} was not materialized within {self.time_limit_seconds:.0f} s: look at "
            "the runs and the sensors' ticks in the Dagster UI"
        )

    def _newest_log_line(self, end: "_LogEnd", partition_key: str, started: float) -> str:
        """Return the last line that a partition's newest run logged, such as a training step."""
        runs = self.dagster.runs(partition_key, created_after=started)
        if not runs:
            return "waits until its run is launched"
        if end.run_id != runs[0].run_id:
            end.run_id, end.cursor, end.line = runs[0].run_id, None, "its run starts"
        lines, end.cursor = self.dagster.log_lines(end.run_id, end.cursor)
        end.line = lines[-1] if lines else end.line
        return end.line

    def _progress(self, jobs: list[job_queue.Job]) -> str:
        """Return the progress of the jobs, by ComfyUI's own."""
        with transaction(self.engine) as session:
            current = [job_queue.get_job(session, TENANT, job.id) for job in jobs]
        num_done = sum(job.status is JobStatus.COMPLETED for job in current)
        running = [job.progress or 0.0 for job in current if job.status is JobStatus.RUNNING]
        share = f", {100 * max(running):.0f} % of the next" if running else ""
        return f"{num_done} of {len(jobs)} done{share}"

    def _seen_asset(self, asset: str, not_before: float) -> "_FinishedStage | None":
        found = self.dagster.materialization(asset, str(DatasetKey(TENANT, INFLUENCER)))
        if found is None or found.at < not_before:
            return None
        facts = found.metadata
        return _FinishedStage(
            at=found.at,
            made=_describe(asset, facts),
            object_key=str(facts.get("weights_key", facts["object_key"])),
            size_bytes=int(facts.get("weights_size_bytes", facts["size_bytes"])),
        )

    def _seen_jobs(self, jobs: list[job_queue.Job]) -> "_FinishedStage | None":
        with transaction(self.engine) as session:
            current = [job_queue.get_job(session, TENANT, job.id) for job in jobs]
        failed = [job for job in current if job.status is JobStatus.FAILED]
        if failed:
            raise PermanentError(f"job {failed[0].id} failed: {failed[0].error}")
        done = [job for job in current if job.finished_at is not None and job.result is not None]
        if len(done) < len(jobs):
            return None
        first = done[0].result or {}
        return _FinishedStage(
            at=max(job.finished_at.timestamp() for job in done if job.finished_at is not None),
            made=f"{len(done)} {first['width_px']}×{first['height_px']}",
            object_key=str(first["object_key"]),
            size_bytes=int(first["size_bytes"]),
            outputs=tuple(
                Output(_prompt(job), str((job.result or {})["object_key"])) for job in done
            ),
        )


@dataclass(frozen=True)
class _FinishedStage:
    """When a stage was finished, and what to show of it."""

    at: float
    made: str
    object_key: str
    size_bytes: int
    outputs: tuple[Output, ...] = ()


@dataclass(frozen=True)
class _Stage:
    """An asset to wait for.

    Attributes:
        look: returns the finished stage; None before.
        progress: returns a line about what is not finished.
    """

    asset: str
    partition_key: str
    look: Callable[[], _FinishedStage | None]
    progress: Callable[[], str]


@dataclass
class _LogEnd:
    """The position up to which the log of the newest run was read."""

    run_id: str = ""
    cursor: str | None = None
    line: str = ""


def _prompt(job: job_queue.Job) -> str:
    return job.payload.prompt if isinstance(job.payload, ImageJobPayload) else "the first, moving"


def _describe(asset: str, facts: Mapping[str, str | int]) -> str:
    return {
        "dataset": "{images} images, {rejected} rejected",
        "captions": "{captions} captions",
        "lora_weights": "{steps} steps on {base_model}",
        "lora_samples": "{samples} sample images",
    }[asset].format_map(facts)

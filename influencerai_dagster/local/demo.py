"""The main job on sample photos: a tenant, an influencer, uploads, jobs; then it only watches.

Everything between the upload and the clip is done by Dagster's sensors and runs. What the stack is
made of lives in stack.py.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine

from influencerai_dagster.api.dagster_graphql import DagsterGraphQL
from influencerai_dagster.catalog import ledger, tenants
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.domain.jobs import JobKind, JobStatus
from influencerai_dagster.domain.keys import DatasetKey, DayKey, today
from influencerai_dagster.domain.object_paths import uploads_prefix
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.stages.submission import submit
from influencerai_dagster.stages.uploads import upload_folder
from influencerai_dagster.storage.object_store import ObjectStore

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
class StageResult:
    """What the demo saw of one asset.

    Attributes:
        partition_key: of the asset.
        seconds: since the stage before was done; None if an earlier demo made it.
    """

    asset: str
    partition_key: str
    made: str
    object_key: str
    size_bytes: int
    seconds: float | None


@dataclass(frozen=True)
class Demo:
    """The demo on a running stack.

    Attributes:
        samples: the folder of photos to upload.
        announce: prints a line.
        show: shows what is waited for, until the next call.
        time_limit_seconds: give up after so long.
    """

    engine: Engine
    store: ObjectStore
    dagster: DagsterGraphQL
    samples: Path
    announce: Callable[[str], None]
    show: Callable[[str], None]
    time_limit_seconds: float = 900.0

    def run(self) -> list[StageResult]:
        """Upload, order, watch; return what was made, stage by stage.

        Raises:
            PermanentError: a run or a job failed; the text has its reason.
            TransientError: the time is over.
        """
        started = time.time()
        day = DayKey(TENANT, today())
        num_sent, jobs = self._order(day)
        # Unchanged photos are the same content: what was made of them stays, whenever it was made.
        not_before = started if num_sent else 0.0
        dataset_key = str(DatasetKey(TENANT, INFLUENCER))
        watched: list[tuple[str, str, Callable[[], _Seen | None]]] = [
            (asset, dataset_key, partial(self._seen_asset, asset, not_before))
            for asset in ("dataset", "captions", "lora_weights", "lora_samples")
        ]
        watched.append(("generated_images", str(day), partial(self._seen_jobs, jobs[:-1])))
        watched.append(("generated_videos", str(day), partial(self._seen_jobs, jobs[-1:])))
        results: list[StageResult] = []
        previous = started
        for asset, partition_key, look in watched:
            seen = self._wait(asset, look, day, started)
            seconds = max(0.0, seen.at - previous) if seen.at > started else None
            results.append(
                StageResult(
                    asset, partition_key, seen.made, seen.object_key, seen.size_bytes, seconds
                )
            )
            previous = max(previous, seen.at)
            took = "from an earlier run" if seconds is None else f"{seconds:.1f} s"
            self.announce(f"[green]✓[/] {asset}: {seen.made} ({took})")
        self._wait_for_runs(day, started)
        return results

    def _order(self, day: DayKey) -> tuple[int, list[ledger.Job]]:
        """Add the tenant and its influencer, upload the photos, and order pictures and a clip."""
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
        prefix = f"demo/{uuid4().hex}"
        lora = {"dataset": INFLUENCER}
        orders = [{"prompt": f"bella, {prompt}", "loras": [lora]} for prompt in PROMPTS]
        pictures = self._submit(JobKind.IMAGE, day, orders, f"{prefix}/pictures")
        clip = {"source_job_id": pictures[0].id}
        clips = self._submit(JobKind.VIDEO, day, [clip], f"{prefix}/clips")
        self.announce(f"{len(pictures)} pictures and {len(clips)} clip ordered for {day}")
        return num_sent, pictures + clips

    def _submit(
        self, kind: JobKind, day: DayKey, jobs: list[dict[str, Any]], key_prefix: str
    ) -> list[ledger.Job]:
        return submit(self.engine, kind, day, jobs, key_prefix=key_prefix, max_pending=None)

    def _wait_for_runs(self, day: DayKey, started: float) -> None:
        """Wait for runs that linger for more jobs: they materialize their assets at their end."""
        while time.time() - started < self.time_limit_seconds:
            alive = [
                run
                for run in self.dagster.runs(str(day), created_after=started)
                if not run.is_finished
            ]
            if not alive:
                return
            self.show(f"{alive[0].job_name} lingers for more jobs")
            time.sleep(_POLL_SECONDS)

    def _wait(
        self, asset: str, look: Callable[[], "_Seen | None"], day: DayKey, started: float
    ) -> "_Seen":
        """Look until the stage is there, a run failed, or the time is over."""
        while time.time() - started < self.time_limit_seconds:
            seen = look()
            if seen is not None:
                return seen
            self.show(f"{asset} … {time.time() - started:.0f} s")
            for key in (str(DatasetKey(TENANT, INFLUENCER)), str(day)):
                for run in self.dagster.runs(key, created_after=started):
                    if run.status == "FAILURE":
                        reasons = "\n".join(run.failures)
                        raise PermanentError(f"{run.job_name} run {run.run_id} failed:\n{reasons}")
            time.sleep(_POLL_SECONDS)
        raise TransientError(
            f"{asset} was not made within {self.time_limit_seconds:.0f} s: look at the runs and "
            "the sensors' ticks in the Dagster UI"
        )

    def _seen_asset(self, asset: str, not_before: float) -> "_Seen | None":
        found = self.dagster.materialization(asset, str(DatasetKey(TENANT, INFLUENCER)))
        if found is None or found.at < not_before:
            return None
        facts = found.metadata
        return _Seen(
            at=found.at,
            made=_describe(asset, facts),
            object_key=str(facts.get("weights_key", facts["object_key"])),
            size_bytes=int(facts.get("weights_size_bytes", facts["size_bytes"])),
        )

    def _seen_jobs(self, jobs: list[ledger.Job]) -> "_Seen | None":
        with transaction(self.engine) as session:
            current = [ledger.get_job(session, TENANT, job.id) for job in jobs]
        failed = [job for job in current if job.status is JobStatus.FAILED]
        if failed:
            raise PermanentError(f"job {failed[0].id} failed: {failed[0].error}")
        done = [job for job in current if job.finished_at is not None and job.result is not None]
        if len(done) < len(jobs):
            return None
        first = done[0].result or {}
        return _Seen(
            at=max(job.finished_at.timestamp() for job in done if job.finished_at is not None),
            made=f"{len(done)} {first['width_px']}×{first['height_px']}",
            object_key=str(first["object_key"]),
            size_bytes=int(first["size_bytes"]),
        )


@dataclass(frozen=True)
class _Seen:
    """One stage that is done: when, and what to show of it."""

    at: float
    made: str
    object_key: str
    size_bytes: int


def _describe(asset: str, facts: Mapping[str, str | int]) -> str:
    return {
        "dataset": "{images} images, {rejected} rejected",
        "captions": "{captions} captions",
        "lora_weights": "{steps} steps on {base_model}",
        "lora_samples": "{pictures} sample pictures",
    }[asset].format_map(facts)

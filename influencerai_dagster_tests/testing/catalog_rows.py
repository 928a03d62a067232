"""Rows that tests of the catalog write, and helpers that move its clock."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from influencerai_dagster.core.fingerprints import fingerprint, sha256_hex
from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.lora_training import PRESETS
from influencerai_dagster.core.manifests.dataset import DatasetImage, DatasetManifest
from influencerai_dagster.core.manifests.loras import LoraManifest
from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.core.object_paths import lora_key, output_key
from influencerai_dagster.core.sampling import (
    ImageSampling,
    Sampling,
    UpscaleSampling,
    VideoSampling,
)
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.models.content import CatalogModel
from influencerai_dagster.db.tenants import add_tenant, put_influencer
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import (
    ImageJobPayload,
    JobRequest,
    LoraReference,
    VideoJobPayload,
)

DAY = date(2026, 11, 23)
SERVERS = {f"http://gpu-{number}": 0 for number in range(200)}


def add_two_tenants(engine: Engine) -> None:
    """Add tenants `demo` and `other`, who both have an influencer `bella`."""
    with transaction(engine) as session:
        for tenant in ("demo", "other"):
            add_tenant(session, tenant)
            add_bella(session, tenant)


def add_bella(session: Session, tenant: str = "demo") -> None:
    """Add the influencer `bella` with the dataset `bella`."""
    put_influencer(
        session,
        tenant,
        "bella",
        dataset="bella",
        trigger_phrase="bella woman",
        class_caption="photo of a woman",
    )


def empty_catalog(engine: Engine) -> None:
    """Delete every row; TRUNCATE makes new files for every table, and takes 40 times as long."""
    with transaction(engine) as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))  # no foreign keys
        for table in reversed(CatalogModel.metadata.sorted_tables):
            session.execute(table.delete())


def image_request(prompt: str = "bella on a beach", **fields: Any) -> JobRequest:
    """Return a request; `loras` are dataset names or references."""
    loras = tuple(
        item if isinstance(item, LoraReference) else LoraReference(dataset=item)
        for item in fields.pop("loras", ())
    )
    seed = fields.pop("seed", None)
    return JobRequest(payload=ImageJobPayload(prompt=prompt, loras=loras, seed=seed), **fields)


def video_request(source_job_id: UUID, **fields: Any) -> JobRequest:
    return JobRequest(payload=VideoJobPayload(source_job_id=source_job_id), **fields)


def submit_one(
    engine: Engine, request: JobRequest | None = None, tenant: str = "demo"
) -> job_queue.Job:
    with transaction(engine) as session:
        return job_queue.submit(session, tenant, DAY, [request or image_request()])[0]


def claim_all(
    engine: Engine,
    *,
    kind: JobKind = JobKind.IMAGE,
    owner: str = "worker",
    lease_seconds: float = 60.0,
    limit: int = 100,
    tenant: str | None = None,
    day: date | None = None,
) -> list[job_queue.ClaimedJob]:
    """Claim as the only worker of each tenant-day, with more servers than jobs.

    Args:
        engine: of the catalog.
        kind: of the jobs.
        owner: of the leases.
        lease_seconds: how long they hold.
        limit: at most so many jobs.
        tenant: only jobs of this tenant; None for all.
        day: only jobs of this day; None for all.
    """
    claimed: list[job_queue.ClaimedJob] = []
    with transaction(engine) as session:
        for key in job_queue.days_with_claimable_jobs(session, kind):
            if tenant not in {None, key.tenant} or day not in {None, key.day}:
                continue
            worker = job_queue.WorkerRegistration(owner, kind, key.tenant, key.day)
            claimed += job_queue.claim_fairly(
                session,
                worker,
                SERVERS,
                lease_seconds=lease_seconds,
                limit=limit - len(claimed),
            )
            job_queue.unregister_worker(session, owner)
    return claimed


def claim_one(engine: Engine, **options: Any) -> job_queue.ClaimedJob:
    (job,) = claim_all(engine, **options)
    return job


def complete_job(engine: Engine, job: job_queue.ClaimedJob) -> job_queue.MediaAsset:
    output = output_of(job)
    with transaction(engine) as session:
        return job_queue.complete(session, job.id, job.lease_token, output, manifest_key_of(job))


def beat(
    session: Session, job: job_queue.ClaimedJob, lease_seconds: float = 600
) -> JobStatus | None:
    """Renew a lease; what the job is if the claim is over, else None."""
    held = {job.id: job_queue.HeldLease(job.lease_token, 0.5)}
    return job_queue.renew_leases(session, held, lease_seconds).get(job.id)


def job_now(engine: Engine, job: job_queue.Job) -> job_queue.Job:
    with transaction(engine) as session:
        return job_queue.get_job(session, job.tenant, job.id)


def end_backoff(engine: Engine) -> None:
    """Let the backoff of every pending job be over."""
    with transaction(engine) as session:
        session.execute(  # rows that this changes are locked: no other transaction claims them
            text(
                "UPDATE jobs SET not_before = now() WHERE status = 'pending' AND not_before > now()"
            )
        )


def run_out_leases(engine: Engine, *jobs: job_queue.Job) -> None:
    """Let the leases of these jobs be a second too old."""
    statement = text(
        "UPDATE jobs SET lease_expires_at = now() - interval '1 s'"
        " WHERE status = 'running' AND id = ANY(:ids)"
    )
    with transaction(engine) as session:
        session.execute(statement, {"ids": [job.id for job in jobs]})


def let_time_pass(engine: Engine, seconds: float) -> None:
    """Make the newest sweep and all leases older, as an outage does."""
    moved = (("sweeps", "swept_at"), ("jobs", "lease_expires_at"))
    with transaction(engine) as session:
        for table, column in moved:
            statement = f"UPDATE {table} SET {column} = {column} - make_interval(secs => :seconds)"  # noqa: S608 - our own names
            session.execute(text(statement), {"seconds": seconds})


def backoff_seconds(session: Session, job: job_queue.Job) -> float:
    """Return how long a job waits, by the clock of the transaction that made it wait."""
    now: datetime = session.execute(text("SELECT now()")).scalar_one()
    return (job.not_before - now).total_seconds()


def manifest_key_of(job: job_queue.ClaimedJob) -> str:
    return output_key(job.kind, job.tenant, job.id, job.lease_token, ".json")


def output_of(job: job_queue.ClaimedJob, **changes: Any) -> OutputManifest:
    is_video = job.kind is JobKind.VIDEO
    suffix = ".mp4" if is_video else ".png"
    key = output_key(job.kind, job.tenant, job.id, job.lease_token, suffix)
    sampling: dict[JobKind, Sampling] = {
        JobKind.IMAGE: ImageSampling(prompt="bella", seed=1, base_model="base.safetensors"),
        JobKind.VIDEO: VideoSampling(seed=1),
        JobKind.UPSCALE: UpscaleSampling(source_width_px=128, source_height_px=192),
    }
    output = OutputManifest(
        tenant=job.tenant,
        job_id=job.id,
        kind=job.kind,
        file=StoredFile(object_key=key, sha256=sha256_hex(key.encode()), size_bytes=1234),
        width_px=512,
        height_px=768,
        sampling=sampling[job.kind],
        video={"duration_seconds": 4.2} if is_video else None,
        workflow_name="sd15_text_to_image",
        workflow_sha256=sha256_hex(b"workflow"),
        comfyui_url="http://127.0.0.1:8188",
        comfyui_version="0.3.0",
        prompt_id=str(uuid4()),
        render_seconds=2.5,
        is_simulated=True,
        created_at=datetime.now(UTC),
    )
    return output.model_copy(update=changes)


def dataset_manifest(
    tenant: str = "demo", dataset: str = "bella", *, num_images: int = 2
) -> DatasetManifest:
    images = tuple(
        DatasetImage(
            file_name=f"img{number}.jpg",
            object_key=f"datasets/{tenant}/{dataset}/images/img{number}.jpg",
            size_bytes=100,
            sha256=sha256_hex(bytes([number])),
            format="JPEG",
            width_px=512,
            height_px=512,
            perceptual_hash="0123456789abcdef",
        )
        for number in range(num_images)
    )
    return DatasetManifest.build(
        DatasetKey(tenant, dataset), images=images, rejected=(), rights=None
    )


def lora_manifest(tenant: str = "demo", lora_id: str = "lora1", **changes: Any) -> LoraManifest:
    manifest = LoraManifest(
        tenant=tenant,
        lora_id=lora_id,
        dataset="bella",
        dataset_version=fingerprint("dataset"),
        captions_version=fingerprint("captions"),
        recipe_version=fingerprint(lora_id),
        trigger_phrase="bella woman",
        config=PRESETS["sd15-face"],
        base_model_sha256=None,
        sd_scripts_commit="unknown",
        is_simulated=True,
        steps=10,
        final_loss=0.1,
        loss_curve=((10, 0.1),),
        train_seconds=3.0,
        weights_key=lora_key(tenant, lora_id),
        weights_sha256=sha256_hex(lora_id.encode()),
        weights_size_bytes=1000,
        created_at=datetime.now(UTC),
    )
    return manifest.model_copy(update=changes)

"""LoRAs and jobs for the tests of rendering."""

from itertools import count
from typing import Any

from sqlalchemy import Engine

from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.core.lora_training import PRESETS, BaseModelFamily
from influencerai_dagster.core.manifests.loras import LoraManifest
from influencerai_dagster.core.object_paths import lora_key
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.loras import record_lora
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import ImageJobPayload, JobRequest
from influencerai_dagster.simulators.sd_scripts.simulation.weights import lora_bytes
from influencerai_dagster.storage.manifests import publish
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import DAY, claim_one, lora_manifest

TODAY = DayKey("demo", DAY)
_SEEDS = count(1)  # ComfyUI answers a prompt that it knows from its cache
_TRAINERS = {
    BaseModelFamily.SD15: "train_network",
    BaseModelFamily.SDXL: "sdxl_train_network",
}


def weights(family: BaseModelFamily = BaseModelFamily.SD15, seed: int = 1) -> bytes:
    return lora_bytes(
        _TRAINERS[family],
        network_dim=2,
        network_alpha=1,
        is_unet_only=True,
        save_precision="fp16",
        seed=seed,
        is_nan=False,
        metadata={"simulated": "SIMULATED"},
    )


def add_lora(
    engine: Engine,
    store: ObjectStore,
    *,
    tenant: str = "demo",
    lora_id: str = "lora1",
    family: BaseModelFamily = BaseModelFamily.SD15,
    content: bytes | None = None,
) -> LoraManifest:
    """Store and record a LoRA as a training does."""
    data = weights(family) if content is None else content
    stored = store.put_new(lora_key(tenant, lora_id), data)
    manifest = lora_manifest(
        tenant,
        lora_id,
        config=PRESETS[f"{family}-face"],
        weights_sha256=stored.sha256,
        weights_size_bytes=stored.size_bytes,
    )
    publish(store, manifest)
    with transaction(engine) as session:
        record_lora(session, manifest)
    return manifest


def submit(
    engine: Engine, *prompts: str, tenant: str = "demo", **fields: Any
) -> list[job_queue.Job]:
    """Submit a small, quick job for every prompt, each with a seed that no other job has."""
    size = {"steps": 1, "width_px": 64, "height_px": 64}
    requests = [
        JobRequest(
            payload=ImageJobPayload(prompt=prompt, **{**size, "seed": next(_SEEDS), **fields})
        )
        for prompt in prompts
    ]
    with transaction(engine) as session:
        return job_queue.submit(session, tenant, DAY, requests)


def claimed(engine: Engine, **fields: Any) -> job_queue.ClaimedJob:
    """Submit one job and claim it."""
    submit(engine, fields.pop("prompt", "bella"), **fields)
    return claim_one(engine)


def status(engine: Engine, job: job_queue.Job) -> job_queue.Job:
    with transaction(engine) as session:
        return job_queue.get_job(session, job.tenant, job.id)

"""`dataset_upload_sensor`: new or changed uploads → a run that builds the dataset.

Reads the listing, decides by training/upload_changes.py, reports. A listing that fails raises: it
never looks like an empty one, and the cursor stays.
"""

import json
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from influencerai_dagster.core.keys import DatasetKey, tenant_of_partition
from influencerai_dagster.core.object_paths import tenant_datasets_prefix
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import list_tenants
from influencerai_dagster.orchestration.jobs import ALIVE, build_dataset_job
from influencerai_dagster.orchestration.partitions import PARTITION_TAG, dataset_partitions
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.orchestration.runs.backoff import EndedRun, lost_names, startable
from influencerai_dagster.orchestration.runs.history import ended_runs, waits_for_lost_runs
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.datasets import uploads_by_dataset, uploads_fingerprint
from influencerai_dagster.training.upload_changes import Sighting, UploadDecision, decide, share_out

MAX_RUNS_ALIVE = 12
"""Queued or in progress, of all tenants; dagster.yaml says how many of them are in progress."""
FINGERPRINT_DIGITS = 16


def dataset_upload_sensor(*, settle_seconds: float) -> dg.SensorDefinition:
    """Return the sensor; uploads must have been quiet for `settle_seconds`."""

    @dg.sensor(
        job=build_dataset_job,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Finds new or changed photos below datasets/<tenant>/<dataset>/images/ and builds "
            f"their dataset, once uploads have been quiet for {settle_seconds:g} s."
        ),
    )
    def dataset_upload_sensor(
        context: dg.SensorEvaluationContext,
        object_store: ObjectStoreResource,
        catalog: CatalogResource,
    ) -> dg.SensorResult:
        with transaction(catalog.engine) as session:
            tenants = [tenant.id for tenant in list_tenants(session)]
        cursor: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
        ended = ended_runs(context.instance, [build_dataset_job.name])
        alive = _alive_partitions(context.instance)
        seen = _scanned(cursor.get("seen", {}), ended, alive)
        sightings = {name: Sighting(*item) for name, item in cursor.get("settling", {}).items()}
        listed = list_uploads(object_store, tenants)
        decision = decide(listed, seen, sightings, now=time.time(), settle_seconds=settle_seconds)
        named = {_run_name(str(key)): key for key in decision.ready}
        free = [named[name] for name in startable(named, ended, time.time())]
        chosen = share_out(free, _by_tenant(alive), max_alive=MAX_RUNS_ALIVE)
        requested = {str(key): decision.ready[key] for key in chosen}
        return _report(
            listed,
            seen,
            decision,
            requested,
            num_batches=cursor.get("num_batches", 0),
            skip_reason=_skip_reason(listed, decision, num_free=len(free)),
        )

    return dataset_upload_sensor


def list_uploads(store: ObjectStore, tenants: Iterable[str]) -> dict[DatasetKey, str]:
    """Return the fingerprint of the uploads of every dataset; a failed page raises."""

    def of_tenant(tenant: str) -> dict[DatasetKey, str]:
        groups = uploads_by_dataset(store.list(tenant_datasets_prefix(tenant)))
        return {
            key: uploads_fingerprint(infos)[:FINGERPRINT_DIGITS] for key, infos in groups.items()
        }

    listed: dict[DatasetKey, str] = {}
    for states in store.map(of_tenant, list(tenants)):
        listed |= states
    return listed


def _alive_partitions(instance: dg.DagsterInstance) -> list[str]:
    """Return what the runs build that are queued or in progress."""
    alive = dg.RunsFilter(job_name=build_dataset_job.name, statuses=ALIVE)
    return [run.tags.get(PARTITION_TAG, "") for run in instance.get_runs(alive)]


def _by_tenant(partitions: Iterable[str]) -> Counter[str]:
    return Counter(filter(None, map(tenant_of_partition, partitions)))


def _scanned(
    asked: Mapping[str, str], ended: Sequence[EndedRun], alive: Collection[str]
) -> dict[str, str]:
    """Leave out the datasets whose run was lost before it began: they are asked for again."""
    lost = lost_names(ended)
    return {
        name: fingerprint
        for name, fingerprint in asked.items()
        if _run_name(name) not in lost or name in alive
    }


def _run_name(partition: str) -> tuple[str, str]:
    return (build_dataset_job.name, partition)


def _report(
    listed: dict[DatasetKey, str],
    seen: dict[str, str],
    decision: UploadDecision,
    requested: dict[str, str],
    *,
    num_batches: int,
    skip_reason: str,
) -> dg.SensorResult:
    # A dataset whose uploads are all gone leaves the cursor, so that it is new when it comes back.
    kept = {str(key): seen[str(key)] for key in listed if str(key) in seen}
    # Dagster never runs a run key twice: content that was there before needs another number.
    number = num_batches + bool(requested)
    settling = {
        name: (item.fingerprint, round(item.since))
        for name, item in decision.sightings.items()
        if name not in requested
    }
    cursor = {"num_batches": number, "seen": kept | requested, "settling": settling}
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"{partition}@{fingerprint}#{number}", partition_key=partition)
            for partition, fingerprint in requested.items()
        ],
        skip_reason=None if requested else skip_reason,
        dynamic_partitions_requests=(
            [dataset_partitions.build_add_request(list(requested))] if requested else []
        ),
        cursor=json.dumps(cursor, separators=(",", ":")),
    )


def _skip_reason(listed: dict[DatasetKey, str], decision: UploadDecision, *, num_free: int) -> str:
    if decision.ready and num_free == 0:
        return waits_for_lost_runs(len(decision.ready), "datasets")
    if decision.ready:
        return f"{len(decision.ready)} datasets wait until one of {MAX_RUNS_ALIVE} runs has ended"
    waiting = ", ".join(map(str, decision.settling[:10]))
    return (
        f"still being uploaded: {waiting}" if waiting else f"{len(listed)} datasets, none changed"
    )

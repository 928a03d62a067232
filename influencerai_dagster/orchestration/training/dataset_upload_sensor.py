"""`dataset_upload_sensor`: start a run for each dataset whose uploads changed.

It reads the listing, decides by training/upload_changes.py and reports. A listing that fails
raises: it never counts as an empty one, and the cursor stays.
"""

import json
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import BUILD_DATASET_JOB, PARTITION_TAG
from influencerai_dagster.core.keys import DatasetKey, tenant_of_partition
from influencerai_dagster.core.object_paths import tenant_datasets_prefix
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import list_tenants
from influencerai_dagster.orchestration.jobs import JOBS
from influencerai_dagster.orchestration.partitions import dataset_partitions
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.orchestration.run_states import ALIVE
from influencerai_dagster.orchestration.runs.backoff import EndedRun, lost_names, startable
from influencerai_dagster.orchestration.runs.history import ended_runs, waits_for_lost_runs
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.upload_changes import (
    Sighting,
    UploadDecision,
    decide,
    share_out,
    uploads_by_dataset,
    uploads_fingerprint,
)

MAX_RUNS_ALIVE = 12
"""Queued or in progress, of all tenants; dagster.yaml says how many of them are in progress."""
FINGERPRINT_DIGITS = 16


def dataset_upload_sensor(*, settle_seconds: float) -> dg.SensorDefinition:
    """Return the sensor; uploads must have been quiet for `settle_seconds`."""

    @dg.sensor(
        job=JOBS[BUILD_DATASET_JOB],
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
        snapshot = _read(context, object_store, catalog.engine)
        now = time.time()
        decision = decide(
            snapshot.listed,
            snapshot.requested,
            snapshot.sightings,
            now=now,
            settle_seconds=settle_seconds,
        )
        free = _startable(snapshot, decision, now)
        by_tenant = Counter(filter(None, map(tenant_of_partition, snapshot.alive)))
        chosen = share_out(free, by_tenant, max_alive=MAX_RUNS_ALIVE)
        new = {str(key): decision.ready[key] for key in chosen}
        return _report(snapshot, decision, new, _skip_reason(snapshot, decision, free))

    return dataset_upload_sensor


@dataclass(frozen=True)
class UploadSnapshot:
    """What a tick knows of uploads and runs.

    Attributes:
        listed: dataset → fingerprint of its uploads.
        requested: partition → fingerprint for which a run was requested, and not lost.
        sightings: partition → the fingerprint that is still settling.
        num_batches: how many ticks have requested runs.
        alive: partitions of the runs that are queued or in progress.
        ended: runs that ended recently.
    """

    listed: dict[DatasetKey, str]
    requested: dict[str, str]
    sightings: dict[str, Sighting]
    num_batches: int
    alive: list[str]
    ended: list[EndedRun]


def _read(
    context: dg.SensorEvaluationContext, store: ObjectStore, engine: Engine
) -> UploadSnapshot:
    with transaction(engine) as session:
        tenants = [tenant.id for tenant in list_tenants(session)]
    cursor: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
    ended = ended_runs(context.instance, [BUILD_DATASET_JOB])
    filters = dg.RunsFilter(job_name=BUILD_DATASET_JOB, statuses=ALIVE)
    alive = [run.tags.get(PARTITION_TAG, "") for run in context.instance.get_runs(filters)]
    return UploadSnapshot(
        listed=list_uploads(store, tenants),
        requested=_not_lost(cursor.get("seen", {}), ended, alive),
        sightings={name: Sighting(*item) for name, item in cursor.get("settling", {}).items()},
        num_batches=cursor.get("num_batches", 0),
        alive=alive,
        ended=ended,
    )


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


def _not_lost(
    requested: Mapping[str, str], ended: Sequence[EndedRun], alive: Collection[str]
) -> dict[str, str]:
    """Leave out the datasets whose run was lost before it started: they get another one."""
    lost = lost_names(ended)
    return {
        name: fingerprint
        for name, fingerprint in requested.items()
        if _run_name(name) not in lost or name in alive
    }


def _run_name(partition: str) -> tuple[str, str]:
    return (BUILD_DATASET_JOB, partition)


def _startable(snapshot: UploadSnapshot, decision: UploadDecision, now: float) -> list[DatasetKey]:
    """Return the datasets that may start now, without those whose last run was just lost."""
    named = {_run_name(str(key)): key for key in decision.ready}
    return [named[name] for name in startable(named, snapshot.ended, now)]


def _report(
    snapshot: UploadSnapshot, decision: UploadDecision, new: Mapping[str, str], skip_reason: str
) -> dg.SensorResult:
    # A dataset whose uploads are all gone leaves the cursor, so that it is new when it comes back.
    listed = {str(key) for key in snapshot.listed}
    kept = {name: value for name, value in snapshot.requested.items() if name in listed}
    # Dagster never runs a run key twice: content that was there before needs another number.
    number = snapshot.num_batches + bool(new)
    settling = {
        name: (item.fingerprint, round(item.since))
        for name, item in decision.sightings.items()
        if name not in new
    }
    cursor = {"num_batches": number, "seen": {**kept, **new}, "settling": settling}
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"{partition}@{fingerprint}#{number}", partition_key=partition)
            for partition, fingerprint in new.items()
        ],
        skip_reason=None if new else skip_reason,
        dynamic_partitions_requests=(
            [dataset_partitions.build_add_request(list(new))] if new else []
        ),
        cursor=json.dumps(cursor, separators=(",", ":")),
    )


def _skip_reason(
    snapshot: UploadSnapshot, decision: UploadDecision, free: Sequence[DatasetKey]
) -> str:
    if decision.ready and not free:
        return waits_for_lost_runs(len(decision.ready), "datasets")
    if decision.ready:
        return f"{len(decision.ready)} datasets wait until one of {MAX_RUNS_ALIVE} runs has ended"
    waiting = ", ".join(map(str, decision.settling[:10]))
    if waiting:
        return f"still being uploaded: {waiting}"
    return f"{len(snapshot.listed)} datasets, none changed"

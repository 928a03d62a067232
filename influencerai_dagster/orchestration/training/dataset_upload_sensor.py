"""`dataset_upload_sensor`: start a run for each dataset whose uploads changed.

It reads the listing, decides by training/upload_changes.py and reports. A listing that fails
raises: it never counts as an empty one, and the cursor stays. While nothing changes it lists less
often. The command line starts the run of its uploads itself (dagster_client/dataset_builds.py).
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from pydantic import BaseModel, Field
from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import (
    BUILD_DATASET_JOB,
    MAX_DATASET_RUNS,
    PARTITION_TAG,
    UPLOADS_TAG,
)
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
    seconds_to_next_listing,
    share_out,
    uploads_by_dataset,
    uploads_fingerprint,
)

_CLOCK_MARGIN_SECONDS = 60.0
"""By so much may the clock of PostgreSQL, which dates runs, differ from ours."""


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
    ) -> dg.SensorResult | dg.SkipReason:
        now = time.time()
        cursor = _Cursor.read(context.cursor)
        pause = seconds_to_next_listing(
            now, listed_at=cursor.listed_at, changed_at=cursor.changed_at
        )
        if pause > 0:
            return dg.SkipReason(f"nothing changed; uploads are listed again in {pause:.0f} s")
        snapshot = _read(context.instance, object_store, catalog.engine, cursor, now)
        decision = decide(
            snapshot.listed,
            snapshot.requested,
            cursor.sightings,
            now=now,
            settle_seconds=settle_seconds,
        )
        free = _startable(snapshot, decision, now)
        by_tenant = Counter(filter(None, map(tenant_of_partition, snapshot.alive)))
        chosen = share_out(free, by_tenant, max_alive=MAX_DATASET_RUNS)
        new = {str(key): decision.ready[key] for key in chosen}
        after = _next_cursor(cursor, snapshot, decision, new, now)
        return _report(new, after, _skip_reason(snapshot, decision, free))

    return dataset_upload_sensor


class _Cursor(BaseModel):
    """What a tick leaves for the next one; fields of an older version are left out.

    Attributes:
        num_batches: how many ticks have requested runs.
        seen: partition → fingerprint for which a run was requested.
        settling: partition → the fingerprint that is still settling, and since when.
        listed_at: when uploads were last listed, Unix time as below.
        changed_at: when a listing last found something to do.
    """

    num_batches: int = 0
    seen: dict[str, str] = Field(default_factory=dict)
    settling: dict[str, tuple[str, float]] = Field(default_factory=dict)
    listed_at: float = 0.0
    changed_at: float = 0.0

    @classmethod
    def read(cls, text: str | None) -> "_Cursor":
        return cls.model_validate_json(text) if text else cls()

    @property
    def sightings(self) -> dict[str, Sighting]:
        return {name: Sighting(*item) for name, item in self.settling.items()}


@dataclass(frozen=True)
class UploadSnapshot:
    """What a tick knows of uploads and runs.

    Attributes:
        listed: dataset → fingerprint of its uploads.
        requested: partition → fingerprint for which there was a run that was not lost.
        alive: partitions of the runs that are queued or in progress.
        ended: runs that ended recently.
    """

    listed: dict[DatasetKey, str]
    requested: dict[str, str]
    alive: list[str]
    ended: list[EndedRun]


def _read(
    instance: dg.DagsterInstance, store: ObjectStore, engine: Engine, cursor: _Cursor, now: float
) -> UploadSnapshot:
    with transaction(engine) as session:
        tenants = [tenant.id for tenant in list_tenants(session)]
    listed = list_uploads(store, tenants)
    # Runs after the listing: what a run was launched for meanwhile has changed since, or is known.
    ended = ended_runs(instance, [BUILD_DATASET_JOB])
    filters = dg.RunsFilter(job_name=BUILD_DATASET_JOB, statuses=ALIVE)
    alive = [run.tags.get(PARTITION_TAG, "") for run in instance.get_runs(filters)]
    launched = _launched(instance, since=(cursor.listed_at or now) - _CLOCK_MARGIN_SECONDS)
    requested = _not_lost({**cursor.seen, **launched}, ended, alive)
    return UploadSnapshot(listed, requested, alive, ended)


def _launched(instance: dg.DagsterInstance, *, since: float) -> dict[str, str]:
    """Return for which uploads the newest run of each partition was launched, by anyone."""
    created_after = datetime.fromtimestamp(since, UTC)
    filters = dg.RunsFilter(job_name=BUILD_DATASET_JOB, created_after=created_after)
    launched: dict[str, str] = {}
    for run in instance.get_runs(filters):  # the newest first
        if UPLOADS_TAG in run.tags:
            launched.setdefault(run.tags.get(PARTITION_TAG, ""), run.tags[UPLOADS_TAG])
    return launched


def list_uploads(store: ObjectStore, tenants: Iterable[str]) -> dict[DatasetKey, str]:
    """Return the fingerprint of the uploads of every dataset; a failed page raises."""

    def of_tenant(tenant: str) -> dict[DatasetKey, str]:
        groups = uploads_by_dataset(store.list(tenant_datasets_prefix(tenant)))
        return {key: uploads_fingerprint(infos) for key, infos in groups.items()}

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


def _next_cursor(
    cursor: _Cursor,
    snapshot: UploadSnapshot,
    decision: UploadDecision,
    new: Mapping[str, str],
    now: float,
) -> _Cursor:
    # A dataset whose uploads are all gone leaves the cursor, so that it is new when it comes back.
    listed = {str(key) for key in snapshot.listed}
    kept = {name: value for name, value in snapshot.requested.items() if name in listed}
    settling = {
        name: (item.fingerprint, round(item.since))
        for name, item in decision.sightings.items()
        if name not in new
    }
    is_quiet = not (new or settling or snapshot.alive)
    return _Cursor(
        # Dagster never runs a run key twice: content that was there before needs another number.
        num_batches=cursor.num_batches + bool(new),
        seen={**kept, **new},
        settling=settling,
        listed_at=now,
        changed_at=cursor.changed_at if is_quiet and cursor.changed_at else now,
    )


def _report(new: Mapping[str, str], cursor: _Cursor, skip_reason: str) -> dg.SensorResult:
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"{partition}@{fingerprint}#{cursor.num_batches}",
                partition_key=partition,
                tags={UPLOADS_TAG: fingerprint},
            )
            for partition, fingerprint in new.items()
        ],
        skip_reason=None if new else skip_reason,
        dynamic_partitions_requests=(
            [dataset_partitions.build_add_request(list(new))] if new else []
        ),
        cursor=cursor.model_dump_json(),
    )


def _skip_reason(
    snapshot: UploadSnapshot, decision: UploadDecision, free: Sequence[DatasetKey]
) -> str:
    if decision.ready and not free:
        return waits_for_lost_runs(len(decision.ready), "datasets")
    if decision.ready:
        return f"{len(decision.ready)} datasets wait until one of {MAX_DATASET_RUNS} runs has ended"
    waiting = ", ".join(map(str, decision.settling[:10]))
    if waiting:
        return f"still being uploaded: {waiting}"
    return f"{len(snapshot.listed)} datasets, none changed"

"""Retention of objects: a plan that says what becomes of every one and why, then the deletion.

The rules are retention/rules.py. Lists of days are planned here and deleted by day_lists.py. What
Dagster itself keeps (partitions, runs, events) is pruned in orchestration/.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from influencerai_dagster.core.object_paths import ACCESS_CHECKS_PREFIX
from influencerai_dagster.core.recovery_window import (
    SAFETY_MARGIN,
)
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.retention import rows as catalog_retention
from influencerai_dagster.retention.legal_holds import tenant_retentions
from influencerai_dagster.retention.rows import DoomedObject
from influencerai_dagster.retention.rules import (
    GRACE,
    DayPartitions,
    Fate,
    Knowledge,
    TenantRetention,
    Verdict,
    folder_file,
    judge,
)
from influencerai_dagster.storage.multipart import (
    IncompleteUpload,
    abort_upload,
    incomplete_uploads,
)
from influencerai_dagster.storage.object_store import ObjectStore

_STAGES = ("images", "videos")
_BATCH = 100
_UPLOAD_LASTS = timedelta(days=2)


@dataclass(frozen=True)
class RetentionRules:
    """How long things are kept.

    Attributes:
        days: RETENTION_DAYS, of tenants that have no days of their own.
        recovery_window: BACKUP_RECOVERY_WINDOW_DAYS.
    """

    days: int
    recovery_window: timedelta


@dataclass(frozen=True)
class PlannedObject:
    """One object and what becomes of it."""

    tenant: str
    key: str
    size_bytes: int
    verdict: Verdict


@dataclass(frozen=True)
class RetentionPlan:
    """What becomes of everything; nothing is written yet.

    Attributes:
        objects: all images and videos, kept ones too.
        scratch_keys: scratch objects of `influencerai doctor` and of storage probes that stayed.
        uploads: multipart uploads that nobody completes.
    """

    made_at: datetime
    tenants: Mapping[str, TenantRetention]
    objects: Sequence[PlannedObject]
    scratch_keys: Sequence[str]
    uploads: Sequence[IncompleteUpload]

    def of(self, fate: Fate) -> list[PlannedObject]:
        """Return the objects of one fate."""
        return [item for item in self.objects if item.verdict.fate is fate]

    def summary(self) -> list[dict[str, str | int | float]]:
        """Return rows by tenant, fate and reason, with how many objects and bytes each is."""
        groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for item in self.objects:
            groups[item.tenant, item.verdict.fate.value, item.verdict.reason].append(
                item.size_bytes
            )
        return [
            {"tenant": tenant, "fate": fate, "why": why, "objects": len(sizes), "bytes": sum(sizes)}
            for (tenant, fate, why), sizes in sorted(groups.items())
        ]


@dataclass
class Deletions:
    """What was deleted.

    Attributes:
        deleted: keys that are deleted in the catalog from now on; their bytes stay for the window.
        removed: keys whose bytes are gone → how many.
        spared: keys that a hold, or a job that came meanwhile, has kept.
        aborted: keys of multipart uploads that were ended.
    """

    deleted: list[str] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)
    spared: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)


def plan_retention(
    engine: Engine,
    store: ObjectStore,
    rules: RetentionRules,
    *,
    days: DayPartitions | None = None,
    now: datetime | None = None,
) -> RetentionPlan:
    """Look at every object and decide; writes nothing.

    Args:
        engine: of the catalog.
        store: the bucket of assets.
        rules: how long things are kept.
        days: which partitions there are; None keeps every list of a day.
        now: UTC; the clock's if None.
    """
    now = now or datetime.now(UTC)
    found = {stage: list(store.list_folders(f"{stage}/")) for stage in _STAGES}
    with transaction(engine) as session:
        tenants = tenant_retentions(session, rules.days)
    names = sorted({folder.split("/")[1] for folders in found.values() for folder in folders})
    objects = [
        item
        for tenant in names
        for item in _plan_tenant(engine, store, tenants, tenant, (rules.recovery_window, now, days))
    ]
    return RetentionPlan(
        made_at=now,
        tenants=tenants,
        objects=objects,
        scratch_keys=[
            item.key
            for item in store.list(ACCESS_CHECKS_PREFIX)
            if item.last_modified + GRACE < now
        ],
        uploads=[
            item for item in incomplete_uploads(store) if item.started_at + _UPLOAD_LASTS < now
        ],
    )


def delete_planned(
    engine: Engine, store: ObjectStore, plan: RetentionPlan, rules: RetentionRules
) -> Deletions:
    """Do what a plan says, looking once more at holds and jobs; may be called again at any time."""
    done = Deletions()
    by_tenant: dict[str, list[PlannedObject]] = defaultdict(list)
    for item in plan.objects:
        by_tenant[item.tenant].append(item)
    for tenant, objects in by_tenant.items():
        _delete_in_catalog(engine, tenant, objects, done)
        done.removed |= _remove_bytes(engine, store, objects, rules, done.spared)
    for key in plan.scratch_keys:
        store.delete(key)
        done.removed[key] = 0
    for upload in plan.uploads:
        abort_upload(store, upload)
        done.aborted.append(upload.key)
    return done


def _plan_tenant(
    engine: Engine,
    store: ObjectStore,
    tenants: Mapping[str, TenantRetention],
    tenant: str,
    rest: tuple[timedelta, datetime, DayPartitions | None],
) -> Iterator[PlannedObject]:
    # The objects first: what is written while this runs is of jobs that the catalog knows then.
    listed = [item for stage in _STAGES for item in store.list(f"{stage}/{tenant}/")]
    with transaction(engine) as session:
        jobs = catalog_retention.job_facts(session, tenant)
        marks = catalog_retention.marked_objects(session, tenant)
    known = Knowledge(tenants, jobs, marks, *rest)
    for item in listed:
        verdict = judge(item.key, item.last_modified, known)
        yield PlannedObject(tenant, item.key, item.size_bytes, verdict)


def _delete_in_catalog(
    engine: Engine, tenant: str, objects: Sequence[PlannedObject], done: Deletions
) -> None:
    doomed = [
        DoomedObject(item.key, file.job_id, item.size_bytes, item.verdict.reason)
        for item in objects
        if item.verdict.fate is Fate.DELETE and (file := folder_file(item.key)) is not None
    ]
    for start in range(0, len(doomed), _BATCH):
        batch = doomed[start : start + _BATCH]
        with transaction(engine) as session:
            deleted = catalog_retention.delete_in_catalog(session, tenant, batch)
        done.deleted += deleted
        done.spared += sorted({item.key for item in batch} - set(deleted))


def _remove_bytes(
    engine: Engine,
    store: ObjectStore,
    objects: Sequence[PlannedObject],
    rules: RetentionRules,
    spared: list[str],
) -> dict[str, int]:
    """Remove what is due of one tenant; return key → bytes."""
    due = {item.key: item for item in objects if item.verdict.fate is Fate.REMOVE}
    jobs = {key: file.job_id for key in due if (file := folder_file(key)) is not None}
    keys, window = list(jobs), rules.recovery_window + SAFETY_MARGIN
    removed: dict[str, int] = {}
    for start in range(0, len(keys), _BATCH):
        batch = {key: jobs[key] for key in keys[start : start + _BATCH]}
        # One transaction: a hold that is set now waits until these are gone, and keeps the rest.
        with transaction(engine) as session:
            tenant = objects[0].tenant
            gone = catalog_retention.lock_removable(session, tenant, batch, window)
            for _ in store.map(store.delete, gone):
                pass
            catalog_retention.record_removed(session, gone)
        removed |= {key: due[key].size_bytes for key in gone}
        spared += sorted(batch.keys() - set(gone))
    return removed

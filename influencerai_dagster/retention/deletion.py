"""Plan what retention does with every object, then carry the plan out.

The rules are in rules.py. Lists of days are planned here and deleted in day_lists.py. What Dagster
itself keeps (partitions, runs, events) is pruned in orchestration/retention/dagster_pruning.py.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from influencerai_dagster.core.job_states import OUTPUT_FOLDERS
from influencerai_dagster.core.object_paths import ACCESS_CHECKS_PREFIX
from influencerai_dagster.core.recovery_window import SAFETY_MARGIN
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.retention import rows
from influencerai_dagster.retention.legal_holds import tenant_retentions
from influencerai_dagster.retention.rows import ObjectToDelete
from influencerai_dagster.retention.rules import (
    GRACE,
    DayPartitions,
    Decision,
    RetentionAction,
    RetentionContext,
    TenantRetention,
    decide,
    folder_file,
)
from influencerai_dagster.storage.multipart import (
    IncompleteUpload,
    abort_upload,
    incomplete_uploads,
)
from influencerai_dagster.storage.object_store import ObjectStore

_BATCH = 100


@dataclass(frozen=True)
class RetentionRules:
    """How long things are kept.

    Attributes:
        days: RETENTION_DAYS, of tenants that have no days of their own.
        recovery_window: BACKUP_RECOVERY_WINDOW_DAYS.
        max_upload_age: a multipart upload that is older is aborted: nobody completes it.
    """

    days: int
    recovery_window: timedelta
    max_upload_age: timedelta = timedelta(days=2)


@dataclass(frozen=True)
class PlannedObject:
    """One object and the decision about it."""

    tenant: str
    key: str
    size_bytes: int
    decision: Decision


@dataclass(frozen=True)
class RetentionPlan:
    """The decision about every object; nothing is written yet.

    Attributes:
        objects: all images and videos, also those that are kept.
        scratch_keys: scratch objects that `influencerai doctor` or a storage probe left behind.
        uploads: multipart uploads to abort.
    """

    made_at: datetime
    tenants: Mapping[str, TenantRetention]
    objects: Sequence[PlannedObject]
    scratch_keys: Sequence[str]
    uploads: Sequence[IncompleteUpload]

    def of(self, action: RetentionAction) -> list[PlannedObject]:
        """Return the objects that one action is planned for."""
        return [item for item in self.objects if item.decision.action is action]

    def summary(self) -> list[dict[str, str | int | float]]:
        """Return the number of objects and their bytes by tenant, action and reason."""
        groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for item in self.objects:
            group = (item.tenant, item.decision.action.value, item.decision.reason)
            groups[group].append(item.size_bytes)
        names = ("tenant", "action", "why", "objects", "bytes")
        return [
            dict(zip(names, (*group, len(sizes), sum(sizes)), strict=True))
            for group, sizes in sorted(groups.items())
        ]


@dataclass
class Deletions:
    """What was deleted.

    Attributes:
        deleted: keys that are now deleted in the catalog; their bytes stay for the window.
        removed: key → bytes, of objects whose bytes are gone.
        skipped: keys that were planned, and kept because of a hold or a job that came later.
        aborted: keys of multipart uploads.
    """

    deleted: list[str] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)


def plan_retention(
    engine: Engine,
    store: ObjectStore,
    rules: RetentionRules,
    *,
    days: DayPartitions | None = None,
    now: datetime | None = None,
) -> RetentionPlan:
    """Decide about every object; writes nothing.

    Args:
        engine: of the catalog.
        store: the bucket of assets.
        rules: how long things are kept.
        days: the partitions of Dagster; None keeps every list of a day.
        now: UTC; the clock's if None.
    """
    now = now or datetime.now(UTC)
    found = {stage: list(store.list_folders(f"{stage}/")) for stage in OUTPUT_FOLDERS}
    with transaction(engine) as session:
        tenants = tenant_retentions(session, rules.days)
    names = sorted({folder.split("/")[1] for folders in found.values() for folder in folders})
    context = RetentionContext(tenants, rules.recovery_window, now, days)
    objects = [item for name in names for item in _plan_tenant(engine, store, name, context)]
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
            item
            for item in incomplete_uploads(store)
            if item.started_at + rules.max_upload_age < now
        ],
    )


def delete_planned(
    engine: Engine, store: ObjectStore, plan: RetentionPlan, rules: RetentionRules
) -> Deletions:
    """Carry out a plan; may be called again at any time.

    Objects that a hold or a job needs by now are skipped.
    """
    done = Deletions()
    by_tenant: dict[str, list[PlannedObject]] = defaultdict(list)
    for item in plan.objects:
        by_tenant[item.tenant].append(item)
    for tenant, objects in by_tenant.items():
        _delete_in_catalog(engine, tenant, objects, done)
        _remove_bytes(engine, store, tenant, objects, rules, done=done)
    for key in plan.scratch_keys:
        store.delete(key)
        done.removed[key] = 0
    for upload in plan.uploads:
        abort_upload(store, upload)
        done.aborted.append(upload.key)
    return done


def _plan_tenant(
    engine: Engine, store: ObjectStore, tenant: str, context: RetentionContext
) -> Iterator[PlannedObject]:
    # The objects first: the catalog then knows the jobs of those that are written meanwhile.
    listed = [item for stage in OUTPUT_FOLDERS for item in store.list(f"{stage}/{tenant}/")]
    with transaction(engine) as session:
        context = replace(
            context,
            jobs=rows.job_facts(session, tenant),
            tombstones=rows.tombstones(session, tenant),
        )
    for item in listed:
        decision = decide(item.key, item.last_modified, context)
        yield PlannedObject(tenant, item.key, item.size_bytes, decision)


def _delete_in_catalog(
    engine: Engine, tenant: str, objects: Sequence[PlannedObject], done: Deletions
) -> None:
    to_delete = [
        ObjectToDelete(item.key, file.job_id, item.size_bytes, item.decision.reason)
        for item in objects
        if item.decision.action is RetentionAction.DELETE
        and (file := folder_file(item.key)) is not None
    ]
    for start in range(0, len(to_delete), _BATCH):
        batch = to_delete[start : start + _BATCH]
        with transaction(engine) as session:
            deleted = rows.delete_in_catalog(session, tenant, batch)
        done.deleted += deleted
        done.skipped += sorted({item.key for item in batch} - set(deleted))


def _remove_bytes(
    engine: Engine,
    store: ObjectStore,
    tenant: str,
    objects: Sequence[PlannedObject],
    rules: RetentionRules,
    *,
    done: Deletions,
) -> None:
    """Remove the bytes of one tenant's objects whose recovery window has passed."""
    window = rules.recovery_window + SAFETY_MARGIN
    due = [
        (item, file.job_id)
        for item in objects
        if item.decision.action is RetentionAction.REMOVE
        and (file := folder_file(item.key)) is not None
    ]
    for start in range(0, len(due), _BATCH):
        sizes = {item.key: item.size_bytes for item, _ in due[start : start + _BATCH]}
        jobs = {item.key: job_id for item, job_id in due[start : start + _BATCH]}
        # One transaction: a hold that is set now waits until these are gone, and keeps the rest.
        with transaction(engine) as session:
            removed = rows.lock_removable(session, tenant, jobs, window)
            for _ in store.map(store.delete, removed):
                pass
            rows.record_removed(session, removed)
        done.removed |= {key: sizes[key] for key in removed}
        done.skipped += sorted(jobs.keys() - set(removed))

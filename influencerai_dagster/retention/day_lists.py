"""Delete the lists of a day's outputs once the day's partition is gone.

No row names such a list; Dagster's materialization of the day does. So a list gets its tombstone
before Dagster removes the partition: whatever stops in between, the recovery window of a list never
begins earlier than a day (the safety margin) before its partition was removed. The plan is made in
deletion.py by the rules of rules.py.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.core.object_paths import day_of_list
from influencerai_dagster.core.recovery_window import SAFETY_MARGIN
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.models.retention import ObjectDeletionRow
from influencerai_dagster.retention.deletion import (
    Deletions,
    PlannedObject,
    RetentionPlan,
    RetentionRules,
)
from influencerai_dagster.retention.legal_holds import is_on_hold
from influencerai_dagster.retention.rows import days_with_objects_or_work, record_removed
from influencerai_dagster.retention.rules import RetentionAction
from influencerai_dagster.storage.object_store import ObjectStore

_BATCH = 100


@dataclass(frozen=True)
class _Batch:
    """Some lists of one tenant for which the same action is planned."""

    tenant: str
    objects: Sequence[PlannedObject]
    days: Mapping[str, DayKey]
    """Key of a list → its day."""

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each list in bytes, by key."""
        return {item.key: item.size_bytes for item in self.objects}

    def others(self, keys: Collection[str]) -> list[str]:
        """Return the keys of the batch that are not among these."""
        return sorted(self.days.keys() - set(keys))


def delete_day_lists(
    engine: Engine, store: ObjectStore, plan: RetentionPlan, rules: RetentionRules, done: Deletions
) -> None:
    """Carry out a plan for the lists of days; may be called again at any time.

    Args:
        engine: of the catalog.
        store: the bucket of assets.
        plan: made with the days' partitions.
        rules: those of the plan.
        done: is added to.
    """
    for batch in _batches(plan, RetentionAction.DELETE):
        with transaction(engine) as session:
            deleted = _add_tombstones(session, batch)
        done.deleted += deleted
        done.skipped += batch.others(deleted)
    for batch in _batches(plan, RetentionAction.KEEP):
        with transaction(engine) as session:
            _remove_tombstones(session, batch)
    for batch in _batches(plan, RetentionAction.REMOVE):
        # One transaction: a hold that is set now waits until these are gone, and keeps the rest.
        with transaction(engine) as session:
            removed = _lock_removable(session, batch, rules.recovery_window + SAFETY_MARGIN)
            for _ in store.map(store.delete, removed):
                pass
            record_removed(session, removed)
        done.removed |= {key: batch.sizes[key] for key in removed}
        done.skipped += batch.others(removed)


def _batches(plan: RetentionPlan, action: RetentionAction) -> Iterator[_Batch]:
    by_tenant: dict[str, list[tuple[PlannedObject, DayKey]]] = defaultdict(list)
    for item in plan.of(action):
        day = day_of_list(item.key)
        if day is not None:
            by_tenant[item.tenant].append((item, day))
    for tenant, lists in by_tenant.items():
        for start in range(0, len(lists), _BATCH):
            some = lists[start : start + _BATCH]
            days = {item.key: day for item, day in some}
            yield _Batch(tenant, [item for item, _ in some], days)


def _add_tombstones(session: Session, batch: _Batch) -> list[str]:
    """Record lists as deleted now, in place of earlier tombstones; return their keys.

    A list stays if the tenant is on hold, or if its day has a job or an object by now.
    """
    deleted = _unneeded(session, batch)
    if deleted:
        values = [
            {
                "object_key": item.key,
                "tenant_id": batch.tenant,
                "size_bytes": item.size_bytes,
                "reason": item.decision.reason,
            }
            for item in batch.objects
            if item.key in set(deleted)
        ]
        statement = insert(ObjectDeletionRow).values(values)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["object_key"],
                set_={
                    "marked_at": func.now(),
                    "removed_at": None,
                    "reason": statement.excluded.reason,
                },
            )
        )
    return deleted


def _remove_tombstones(session: Session, batch: _Batch) -> None:
    """Forget that lists were deleted, because their day is there again."""
    row = ObjectDeletionRow
    session.execute(delete(row).where(row.object_key.in_(batch.days), row.removed_at.is_(None)))


def _lock_removable(session: Session, batch: _Batch, window: timedelta) -> list[str]:
    """Return the lists whose bytes this transaction may remove."""
    row = ObjectDeletionRow
    statement = select(row.object_key).where(
        row.tenant_id == batch.tenant,
        row.object_key.in_(_unneeded(session, batch)),
        row.marked_at + window < func.now(),
        row.removed_at.is_(None),
    )
    return list(session.scalars(statement.with_for_update()))


def _unneeded(session: Session, batch: _Batch) -> list[str]:
    if is_on_hold(session, batch.tenant):
        return []
    needed = days_with_objects_or_work(session, batch.tenant)
    return [key for key, day in batch.days.items() if day not in needed]

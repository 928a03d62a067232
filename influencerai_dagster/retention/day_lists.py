"""Deletes the lists of what a day has, after its partition: by the plan of retention/deletion.py.

Lists are marked before Dagster removes the partition: whatever stops in between, the recovery
window of a list never begins earlier than a day (the safety margin) before its partition went.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Engine

from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.core.object_paths import day_of_list
from influencerai_dagster.core.recovery_window import (
    SAFETY_MARGIN,
)
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.retention.day_list_rows import (
    lock_removable_lists,
    mark_lists,
    unmark_lists,
)
from influencerai_dagster.retention.deletion import (
    Deletions,
    PlannedObject,
    RetentionPlan,
    RetentionRules,
)
from influencerai_dagster.retention.rows import record_removed
from influencerai_dagster.retention.rules import Fate
from influencerai_dagster.storage.object_store import ObjectStore

_BATCH = 100


def delete_day_lists(
    engine: Engine, store: ObjectStore, plan: RetentionPlan, rules: RetentionRules, done: Deletions
) -> None:
    """Do what a plan says of lists; may be called again at any time.

    Args:
        engine: of the catalog.
        store: the bucket of assets.
        plan: that knows of the days' partitions.
        rules: those of the plan.
        done: is added to.
    """
    for tenant, batch, days in _batches(plan, Fate.DELETE):
        sizes = {item.key: item.size_bytes for item in batch}
        with transaction(engine) as session:
            marked = mark_lists(session, tenant, days, sizes, batch[0].verdict.reason)
        done.deleted += marked
        done.spared += sorted(days.keys() - set(marked))
    for _, _, days in _batches(plan, Fate.KEEP):
        with transaction(engine) as session:
            unmark_lists(session, days.keys())
    for tenant, batch, days in _batches(plan, Fate.REMOVE):
        sizes = {item.key: item.size_bytes for item in batch}
        window = rules.recovery_window + SAFETY_MARGIN
        # One transaction: a hold that is set now waits until these are gone, and keeps the rest.
        with transaction(engine) as session:
            gone = lock_removable_lists(session, tenant, days, window)
            for _ in store.map(store.delete, gone):
                pass
            record_removed(session, gone)
        done.removed |= {key: sizes[key] for key in gone}
        done.spared += sorted(days.keys() - set(gone))


def _batches(
    plan: RetentionPlan, fate: Fate
) -> Iterator[tuple[str, Sequence[PlannedObject], Mapping[str, DayKey]]]:
    """Yield tenant, some of its lists of one fate, and the same as key → day."""
    by_tenant: dict[str, list[PlannedObject]] = defaultdict(list)
    for item in plan.of(fate):
        if day_of_list(item.key) is not None:
            by_tenant[item.tenant].append(item)
    for tenant, items in by_tenant.items():
        for start in range(0, len(items), _BATCH):
            batch = items[start : start + _BATCH]
            days = {item.key: day for item in batch if (day := day_of_list(item.key)) is not None}
            yield tenant, batch, days

"""Delete what Dagster keeps for ever: partitions of empty days, old runs and their events.

Dagster 1.13 has no retention of its event log. A run that holds the last materialization of an
asset, or of one of its partitions, stays. Events that belong to no run are in dagster_events.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import dagster as dg
from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import PARTITION_TAG
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.orchestration.partitions import content_day_partitions, dataset_partitions
from influencerai_dagster.orchestration.run_states import ALIVE
from influencerai_dagster.retention.rows import days_with_objects_or_work
from influencerai_dagster.retention.rules import DayPartitions, TenantRetention, is_day_over

KEEP_RUNS = timedelta(days=30)
_MAX_RUNS = 5000
"""At most so many in one run of retention; the next day's run takes the next ones."""
_DAYS, _DATASETS = str(content_day_partitions.name), str(dataset_partitions.name)
_ENDED = [status for status in dg.DagsterRunStatus if status not in ALIVE]


@dataclass(frozen=True)
class DagsterLeftovers:
    """Partitions and runs that may be deleted.

    Attributes:
        days: partition keys of tenant-days without objects, work or runs.
        run_ids: runs that ended long ago.
        num_kept: old runs that stay because they hold a last materialization.
        day_partitions: what the lists of days are decided by.
    """

    days: Sequence[str]
    run_ids: Sequence[str]
    num_kept: int
    day_partitions: DayPartitions


def find_leftovers(
    instance: dg.DagsterInstance,
    engine: Engine,
    tenants: Mapping[str, TenantRetention],
    *,
    now: datetime,
) -> DagsterLeftovers:
    """Find what may be deleted; writes nothing."""
    with transaction(engine) as session:
        needed = days_with_objects_or_work(session)
    partitions = instance.get_dynamic_partitions(_DAYS)
    days = [
        key
        for key in partitions
        if (day := _day(key)) is not None
        and day not in needed
        and is_day_over(day.day, tenants.get(day.tenant), now)
        and not _has_run_alive(instance, key)
    ]
    old = instance.get_runs(
        dg.RunsFilter(statuses=_ENDED, updated_before=now - KEEP_RUNS), limit=_MAX_RUNS
    )
    kept = {*partitions, *instance.get_dynamic_partitions(_DATASETS)} - set(days)
    newest = _NewestMaterializations(instance, frozenset(kept))
    gone = [run.run_id for run in old if not newest.is_in(run.run_id)]
    there = {day for key in partitions if (day := _day(key)) is not None}
    ending = {DayKey.parse(key) for key in days}
    day_partitions = DayPartitions(kept=(there - ending) | needed, ending=ending)
    return DagsterLeftovers(days, gone, len(old) - len(gone), day_partitions)


def delete_leftovers(instance: dg.DagsterInstance, found: DagsterLeftovers) -> DagsterLeftovers:
    """Delete what was found, except a day that has a run by now; return what was deleted."""
    days = [key for key in found.days if _delete_day(instance, key)]
    for run_id in found.run_ids:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        # Before the run: events of a run that is gone would never be found again.
        instance.event_log_storage.delete_events(run_id)
        instance.delete_run(run_id)
    return replace(found, days=days)


def _delete_day(instance: dg.DagsterInstance, key: str) -> bool:
    """Remove a partition; a run in flight would fail without it, so it is put back for one."""
    if _has_run_alive(instance, key):
        return False
    instance.delete_dynamic_partition(_DAYS, key)
    if _has_run_alive(instance, key):
        instance.add_dynamic_partitions(_DAYS, [key])
        return False
    return True


def _has_run_alive(instance: dg.DagsterInstance, key: str) -> bool:
    alive = dg.RunsFilter(statuses=ALIVE, tags={PARTITION_TAG: key})
    return bool(instance.get_runs(alive, limit=1))


def _day(partition_key: str) -> DayKey | None:
    try:
        return DayKey.parse(partition_key)
    except PermanentError:
        return None


class _NewestMaterializations:
    """Finds the runs that hold the last materialization of an asset or of a partition."""

    def __init__(self, instance: dg.DagsterInstance, partitions: frozenset[str]) -> None:
        self._instance = instance
        self._partitions = partitions  # the last materialization of a deleted one is not kept
        self._newest: dict[dg.AssetKey, Mapping[str, int]] = {}

    def is_in(self, run_id: str) -> bool:
        cursor = None
        while True:
            page = self._instance.get_records_for_run(
                run_id, cursor=cursor, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
            )
            if any(self._is_newest(record) for record in page.records):
                return True
            if not page.has_more:
                return False
            cursor = page.cursor

    def _is_newest(self, record: dg.EventLogRecord) -> bool:
        key, partition = record.asset_key, record.partition_key
        if key is None or (partition is not None and partition not in self._partitions):
            return False
        if partition is None:
            last = self._instance.get_latest_materialization_event(key)
            return last is None or last.run_id == record.event_log_entry.run_id
        if key not in self._newest:
            storage = self._instance.event_log_storage
            self._newest[key] = storage.get_latest_storage_id_by_partition(
                key, dg.DagsterEventType.ASSET_MATERIALIZATION
            )
        return self._newest[key].get(partition) == record.storage_id

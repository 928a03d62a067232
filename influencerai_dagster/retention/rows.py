"""Read the facts that retention needs about jobs and outputs, and write tombstones.

A tombstone is a row of table object_deletions: an object that is deleted in the catalog and whose
bytes are there until `removed_at`. The rules are in rules.py, holds of tenants in legal_holds.py,
lists of days in day_lists.py.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import OPEN_STATUSES
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.models.content import TenantRow
from influencerai_dagster.db.models.jobs import JobRow, MediaAssetRow
from influencerai_dagster.db.models.retention import ObjectDeletionRow
from influencerai_dagster.retention.legal_holds import is_on_hold
from influencerai_dagster.retention.rules import JobOutputFacts

_FACTS = text("""
SELECT jobs.id, jobs.finished_at, object_key, media_assets.created_at AS made_at, deleted_at,
       coalesce(is_on_hold, false) AS is_on_hold,
       EXISTS (SELECT 1 FROM jobs video WHERE video.depends_on = jobs.id
                  AND video.status IN ('pending', 'running')) AS is_needed
  FROM jobs LEFT JOIN media_assets ON media_assets.job_id = jobs.id
 WHERE jobs.tenant_id = :tenant
""")

_DELETE = text("""
UPDATE media_assets SET deleted_at = now()
 WHERE tenant_id = :tenant AND object_key = ANY(:keys) AND deleted_at IS NULL AND NOT is_on_hold
   AND NOT EXISTS (SELECT 1 FROM jobs video WHERE video.depends_on = media_assets.job_id
                      AND video.status IN ('pending', 'running'))
""")

_BUSY_DAYS = text("""
SELECT DISTINCT jobs.tenant_id, jobs.day FROM jobs
  LEFT JOIN media_assets ON media_assets.job_id = jobs.id
 WHERE (CAST(:tenant AS text) IS NULL OR jobs.tenant_id = :tenant)
   AND (status IN ('pending', 'running')
        OR (media_assets.id IS NOT NULL AND deleted_at IS NULL)
        OR EXISTS (SELECT 1 FROM object_deletions WHERE object_deletions.job_id = jobs.id
                      AND removed_at IS NULL))
""")


@dataclass(frozen=True)
class ObjectToDelete:
    """An object to delete in the catalog, and the reason."""

    key: str
    job_id: UUID
    size_bytes: int
    reason: str


@dataclass(frozen=True)
class Freeable:
    """The space that retention could free in a full store.

    Attributes:
        now_bytes: deleted long enough ago; the next run removes them.
        later_bytes: deleted, or old enough to be deleted; removed when the window has passed.
    """

    now_bytes: int
    later_bytes: int


def job_facts(session: Session, tenant: str) -> dict[UUID, JobOutputFacts]:
    """Return the facts about every job of a tenant."""
    return {row.id: _facts(row) for row in session.execute(_FACTS, {"tenant": tenant})}


def tombstones(session: Session, tenant: str) -> dict[str, datetime]:
    """Return key → when it was deleted, of the objects whose bytes are still there."""
    row = ObjectDeletionRow
    statement = select(row.object_key, row.marked_at).where(
        row.tenant_id == tenant, row.removed_at.is_(None)
    )
    return {row.object_key: row.marked_at for row in session.execute(statement)}


def delete_in_catalog(
    session: Session, tenant: str, objects: Sequence[ObjectToDelete]
) -> list[str]:
    """Delete outputs and leave a tombstone for each of their files; return the keys.

    An output stays with all its files if it is on hold, or if a video that is not over starts from
    it. Files in the folder of a job that are not of its output (a claim that was lost wrote them)
    get a tombstone alone.
    """
    if not objects or is_on_hold(session, tenant):
        return []
    session.execute(_DELETE, {"tenant": tenant, "keys": [item.key for item in objects]})
    outputs = session.execute(_outputs_of({item.job_id for item in objects}, tenant)).all()
    held = {row.job_id for row in outputs if row.is_on_hold}
    kept_stems = {_stem(row.object_key) for row in outputs if row.deleted_at is None}
    deleted = [
        item for item in objects if item.job_id not in held and _stem(item.key) not in kept_stems
    ]
    if deleted:
        tombstones = [
            {
                "object_key": item.key,
                "tenant_id": tenant,
                "job_id": item.job_id,
                "size_bytes": item.size_bytes,
                "reason": item.reason,
            }
            for item in deleted
        ]
        session.execute(insert(ObjectDeletionRow).values(tombstones).on_conflict_do_nothing())
    return [item.key for item in deleted]


def lock_removable(
    session: Session, tenant: str, jobs: Mapping[str, UUID], recovery_window: timedelta
) -> list[str]:
    """Return the keys whose bytes this transaction may remove, and lock their outputs.

    An object stays if the tenant or its job's output is on hold, if its job is open again, or if
    the output that it belongs to is not deleted, or only within the recovery window.

    Args:
        jobs: key → the job in whose folder it is.
        recovery_window: with the safety margin.
    """
    if is_on_hold(session, tenant):
        return []
    job_ids = set(jobs.values())
    is_past_window = (MediaAssetRow.deleted_at + recovery_window < func.now()).label(
        "is_past_window"
    )
    outputs = session.execute(
        _outputs_of(job_ids, tenant).add_columns(is_past_window).with_for_update(read=True)
    ).all()
    held = {row.job_id for row in outputs if row.is_on_hold}
    kept_stems = {_stem(row.object_key) for row in outputs if not row.is_past_window}
    open_jobs = set(
        session.scalars(
            select(JobRow.id).where(JobRow.id.in_(job_ids), JobRow.status.in_(OPEN_STATUSES))
        )
    )
    return [
        key
        for key, job_id in jobs.items()
        if job_id not in held | open_jobs and _stem(key) not in kept_stems
    ]


def record_removed(session: Session, keys: Collection[str]) -> None:
    """Record that the bytes of objects are gone."""
    row = ObjectDeletionRow
    session.execute(update(row).where(row.object_key.in_(keys)).values(removed_at=func.now()))


def days_with_objects_or_work(session: Session, tenant: str | None = None) -> set[DayKey]:
    """Return the tenant-days whose partition is needed: open jobs, or objects that are there.

    Args:
        tenant: whose days; None for all.
    """
    rows = session.execute(_BUSY_DAYS, {"tenant": tenant})
    return {DayKey(row.tenant_id, row.day) for row in rows}


def freeable(session: Session, *, default_days: int, recovery_window: timedelta) -> Freeable:
    """Return what retention could free; the catalog knows no posters and orphans, so it is more."""
    row, media, tenant = ObjectDeletionRow, MediaAssetRow, TenantRow
    tombstones = (
        select(
            func.coalesce(func.sum(row.size_bytes), 0).label("all"),
            func.coalesce(
                func.sum(row.size_bytes).filter(row.marked_at + recovery_window < func.now()), 0
            ).label("now"),
        )
        .join(tenant, tenant.id == row.tenant_id)
        .where(row.removed_at.is_(None), ~tenant.is_on_hold)
    )
    days = func.make_interval(0, 0, 0, func.coalesce(tenant.retention_days, default_days))
    old = (
        select(func.coalesce(func.sum(media.size_bytes), 0))
        .join(tenant, tenant.id == media.tenant_id)
        .where(
            media.deleted_at.is_(None),
            ~media.is_on_hold,
            ~tenant.is_on_hold,
            media.created_at + days < func.now(),
        )
    )
    found = session.execute(tombstones).one()
    expired = int(session.scalar(old) or 0)
    return Freeable(int(found.now), int(found.all) - int(found.now) + expired)


def _outputs_of(job_ids: Collection[UUID], tenant: str) -> Select[Any]:
    """Select the outputs of jobs, deleted ones too."""
    row = MediaAssetRow
    return select(row.job_id, row.object_key, row.is_on_hold, row.deleted_at).where(
        row.tenant_id == tenant, row.job_id.in_(job_ids)
    )


def _facts(row: Row[Any]) -> JobOutputFacts:
    key = row.object_key
    return JobOutputFacts(
        finished_at=row.finished_at,
        stem=None if key is None else _stem(key).rpartition("/")[2],
        made_at=row.made_at,
        deleted_at=row.deleted_at,
        is_on_hold=row.is_on_hold,
        is_needed=row.is_needed,
    )


def _stem(object_key: str) -> str:
    """Return a key without its ending: it is the same for an output, its manifest and poster."""
    return object_key.rpartition(".")[0]

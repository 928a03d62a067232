"""What the catalog knows of images and videos for retention, and what retention writes there.

The rules are retention/rules.py; days and holds of tenants are in legal_holds.py, lists of days in
day_lists.py.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import (
    JobStatus,
)
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.models.content import TenantRow
from influencerai_dagster.db.models.jobs import JobRow, MediaAssetRow
from influencerai_dagster.db.models.retention import ObjectDeletionRow
from influencerai_dagster.retention.legal_holds import is_on_hold
from influencerai_dagster.retention.rules import JobFacts

_OPEN = (JobStatus.PENDING, JobStatus.RUNNING)

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
class DoomedObject:
    """An object that is deleted in the catalog, with why."""

    key: str
    job_id: UUID
    size_bytes: int
    reason: str


@dataclass(frozen=True)
class Freeable:
    """What retention could free of a full store.

    Attributes:
        now_bytes: deleted long enough ago: the next run removes them.
        later_bytes: deleted, or old enough to be deleted: they go when the window has passed.
    """

    now_bytes: int
    later_bytes: int


def job_facts(session: Session, tenant: str) -> dict[UUID, JobFacts]:
    """Return what retention must know of every job of a tenant."""
    return {row.id: _facts(row) for row in session.execute(_FACTS, {"tenant": tenant})}


def marked_objects(session: Session, tenant: str) -> dict[str, datetime]:
    """Return the keys of bytes that wait for their removal, with since when they are deleted."""
    row = ObjectDeletionRow
    statement = select(row.object_key, row.marked_at).where(
        row.tenant_id == tenant, row.removed_at.is_(None)
    )
    return {row.object_key: row.marked_at for row in session.execute(statement)}


def delete_in_catalog(session: Session, tenant: str, objects: Sequence[DoomedObject]) -> list[str]:
    """Delete objects in the catalog; those that are on hold or needed by now stay.

    Returns:
        The keys that are deleted.
    """
    if not objects or is_on_hold(session, tenant):
        return []
    job_ids = list({item.job_id for item in objects})
    session.execute(_DELETE, {"tenant": tenant, "keys": [item.key for item in objects]})
    # Of what is left undeleted only files of other claims may go.
    live = session.execute(
        select(MediaAssetRow.object_key, MediaAssetRow.job_id, MediaAssetRow.is_on_hold).where(
            MediaAssetRow.tenant_id == tenant,
            MediaAssetRow.job_id.in_(job_ids),
            or_(MediaAssetRow.deleted_at.is_(None), MediaAssetRow.is_on_hold),
        )
    ).all()
    stems = {_stem(row.object_key) for row in live}
    held = {row.job_id for row in live if row.is_on_hold}
    gone = [i for i in objects if i.job_id not in held and _stem(i.key) not in stems]
    if gone:
        statement = insert(ObjectDeletionRow).values(
            [
                {
                    "object_key": item.key,
                    "tenant_id": tenant,
                    "job_id": item.job_id,
                    "size_bytes": item.size_bytes,
                    "reason": item.reason,
                }
                for item in gone
            ]
        )
        session.execute(statement.on_conflict_do_nothing())
    return [item.key for item in gone]


def lock_removable(
    session: Session, tenant: str, objects: Mapping[str, UUID], recovery_window: timedelta
) -> list[str]:
    """Return which objects' bytes may be removed in this transaction: no hold was set meanwhile.

    Args:
        objects: key → the job in whose folder it is.
        recovery_window: with the safety margin.
    """
    if is_on_hold(session, tenant):
        return []
    ids = list(set(objects.values()))
    rows = session.execute(
        select(
            MediaAssetRow.job_id,
            MediaAssetRow.object_key,
            MediaAssetRow.is_on_hold,
            (MediaAssetRow.deleted_at + recovery_window < func.now()).label("is_over"),
        )
        .where(MediaAssetRow.tenant_id == tenant, MediaAssetRow.job_id.in_(ids))
        .with_for_update(read=True)
    ).all()
    held = {row.job_id for row in rows if row.is_on_hold}
    named = {_stem(row.object_key) for row in rows if not row.is_over}
    open_jobs = set(
        session.scalars(select(JobRow.id).where(JobRow.id.in_(ids), JobRow.status.in_(_OPEN)))
    )
    kept = held | open_jobs
    return [
        key for key, job_id in objects.items() if job_id not in kept and _stem(key) not in named
    ]


def record_removed(session: Session, keys: Collection[str]) -> None:
    """Write down that the bytes of objects are gone."""
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
    """Return what retention could free, by the catalog; posters and orphans come on top."""
    row, media, tenant = ObjectDeletionRow, MediaAssetRow, TenantRow
    marked = (
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
    found = session.execute(marked).one()
    expired = int(session.scalar(old) or 0)
    return Freeable(int(found.now), int(found.all) - int(found.now) + expired)


def _facts(row: Row[Any]) -> JobFacts:
    key = row.object_key
    return JobFacts(
        finished_at=row.finished_at,
        stem=None if key is None else _stem(key).rpartition("/")[2],
        made_at=row.made_at,
        deleted_at=row.deleted_at,
        is_on_hold=row.is_on_hold,
        is_needed=row.is_needed,
    )


def _stem(object_key: str) -> str:
    return object_key.rpartition(".")[0]

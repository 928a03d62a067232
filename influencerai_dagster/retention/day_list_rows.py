"""Lists of what a day has, once its partition is gone: deleted in the catalog, then their bytes.

No row names such a list; Dagster's materialization of the day does. The rules are
retention/rules.py.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.models.retention import ObjectDeletionRow
from influencerai_dagster.retention.legal_holds import is_on_hold
from influencerai_dagster.retention.rows import days_with_objects_or_work


def mark_lists(
    session: Session,
    tenant: str,
    lists: Mapping[str, DayKey],
    sizes: Mapping[str, int],
    reason: str,
) -> list[str]:
    """Delete lists in the catalog as of now, whatever was known of them before.

    Args:
        lists: key → day.
        sizes: key → bytes.
        reason: why they go.

    Returns:
        The keys that are deleted: a hold, a job or an object that the day has by now keeps its own.
    """
    gone = _not_needed(session, tenant, lists)
    if gone:
        values = [
            {"object_key": key, "tenant_id": tenant, "size_bytes": sizes[key], "reason": reason}
            for key in gone
        ]
        statement = insert(ObjectDeletionRow).values(values)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["object_key"],
                set_={"marked_at": func.now(), "removed_at": None, "reason": reason},
            )
        )
    return gone


def unmark_lists(session: Session, keys: Collection[str]) -> None:
    """Forget that lists were deleted: their day is there again."""
    row = ObjectDeletionRow
    session.execute(delete(row).where(row.object_key.in_(keys), row.removed_at.is_(None)))


def lock_removable_lists(
    session: Session, tenant: str, lists: Mapping[str, DayKey], recovery_window: timedelta
) -> list[str]:
    """Return which lists' bytes may be removed in this transaction.

    Args:
        lists: key → day.
        recovery_window: with the safety margin.
    """
    row = ObjectDeletionRow
    statement = select(row.object_key).where(
        row.tenant_id == tenant,
        row.object_key.in_(_not_needed(session, tenant, lists)),
        row.marked_at + recovery_window < func.now(),
        row.removed_at.is_(None),
    )
    return list(session.scalars(statement.with_for_update()))


def _not_needed(session: Session, tenant: str, lists: Mapping[str, DayKey]) -> list[str]:
    if is_on_hold(session, tenant):
        return []
    needed = days_with_objects_or_work(session, tenant)
    return [key for key, day in lists.items() if day not in needed]

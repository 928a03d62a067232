"""Keep the audit log: who did what, in a chain of hashes for each tenant.

Nothing changes or deletes an entry: the API's role may only insert, and a trigger refuses everybody
else, but for the removal of the whole tenant. A changed entry breaks the chain. Entries that are
missing at its end do not: compare the newest hash with one that you kept elsewhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from influencerai_dagster.core.keys import check_part
from influencerai_dagster.db.models.access import AuditEntryRow
from influencerai_dagster.errors import PermanentError

OPERATOR = "operator"
"""The actor of the command line."""
_BEFORE_THE_FIRST = "0" * 64
_READ_AT_ONCE = 1000


@dataclass(frozen=True)
class AuditEntry:
    """What somebody did; see AuditEntryRow."""

    tenant: str
    number: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: Mapping[str, Any]
    address: str
    sha256: str

    @classmethod
    def of(cls, row: AuditEntryRow) -> "AuditEntry":
        """Make the value from its row."""
        return cls(
            row.tenant_id,
            row.number,
            row.at,
            row.actor,
            row.action,
            row.target,
            row.detail,
            row.address,
            row.sha256,
        )

    def expected_sha256(self, previous: str) -> str:
        """Return the hash that this entry has after one with the hash `previous`."""
        return _chained(
            previous,
            [
                self.tenant,
                self.number,
                self.at.timestamp(),
                self.actor,
                self.action,
                self.target,
                self.detail,
                self.address,
            ],
        )


def record(
    session: Session,
    tenant: str,
    *,
    actor: str,
    action: str,
    target: str = "",
    detail: Mapping[str, Any] | None = None,
    address: str = "",
) -> None:
    """Add an entry, in the transaction of what it tells of.

    Args:
        tenant: whose log.
        actor: who did it.
        action: what, "jobs.submit".
        target: to what.
        detail: more about it, as JSON has it; no secret.
        address: from where.
    """
    # The entries of a tenant are in one order; this transaction ends soon.
    lock = func.pg_advisory_xact_lock(func.hashtextextended(f"audit {tenant}", 0))
    session.execute(select(lock))
    newest = session.execute(
        select(AuditEntryRow.number, AuditEntryRow.sha256)
        .where(AuditEntryRow.tenant_id == check_part(tenant, "tenant"))
        .order_by(AuditEntryRow.number.desc())
        .limit(1)
    ).one_or_none()
    number, previous = (0, _BEFORE_THE_FIRST) if newest is None else newest
    at: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    entry = AuditEntry(
        tenant, number + 1, at, actor, action, target, dict(detail or {}), address, ""
    )
    session.execute(
        insert(AuditEntryRow).values(
            tenant_id=tenant,
            number=entry.number,
            at=entry.at,
            actor=actor,
            action=action,
            target=target,
            detail=entry.detail,
            address=address,
            sha256=entry.expected_sha256(previous),
        )
    )


def newest_entries(
    session: Session, tenant: str, *, before_number: int | None = None, limit: int = 100
) -> list[AuditEntry]:
    """Return the entries of a tenant, newest first.

    Args:
        before_number: only entries before that one; the last of a page gives the next page.
        limit: at most so many.
    """
    statement = select(AuditEntryRow).where(AuditEntryRow.tenant_id == tenant)
    if before_number is not None:
        statement = statement.where(AuditEntryRow.number < before_number)
    statement = statement.order_by(AuditEntryRow.number.desc()).limit(limit)
    return [AuditEntry.of(row) for row in session.scalars(statement)]


def verify(session: Session, tenant: str) -> AuditEntry | None:
    """Recompute the chain of a tenant; return its newest entry, None if there is none.

    Raises:
        PermanentError: an entry was changed, or one is missing; the text has the first.
    """
    statement = (
        select(AuditEntryRow)
        .where(AuditEntryRow.tenant_id == tenant)
        .order_by(AuditEntryRow.number)
        .execution_options(yield_per=_READ_AT_ONCE)
    )
    previous, newest = _BEFORE_THE_FIRST, None
    for row in session.scalars(statement):
        entry = AuditEntry.of(row)
        expected_number = 1 if newest is None else newest.number + 1
        if entry.number != expected_number:
            raise PermanentError(
                f"The audit log of tenant {tenant!r} was changed: entry {expected_number} is "
                "missing. Compare it with a backup"
            )
        if entry.sha256 != entry.expected_sha256(previous):
            raise PermanentError(
                f"The audit log of tenant {tenant!r} was changed: entry {entry.number} "
                f"({entry.action} by {entry.actor}, {entry.at:%Y-%m-%d %H:%M} UTC), or the one "
                "before it, is not what was written. Compare it with a backup"
            )
        previous, newest = entry.sha256, entry
    return newest


def _chained(previous: str, fields: list[object]) -> str:
    content = json.dumps([previous, *fields], sort_keys=True, ensure_ascii=True)
    return sha256(content.encode()).hexdigest()

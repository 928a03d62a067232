"""Cache responses of language models until they expire, so that a repeated call costs nothing.

A key is the SHA-256 of the whole request: nobody can guess it without the image. Each tenant still
reads only its own rows, because a hit would reveal that another tenant has the same image, and
because a legal hold and the removal of a tenant need to know whose a row is. Tenants do not share
images, so this costs no hits.

PostgreSQL's clock decides when a response expires; OPENROUTER_CACHE_TTL says after how long.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.core.keys import check_part
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.models.content import CachedResponseRow, TenantRow
from influencerai_dagster.retry import retry_transient

BATCH_ROWS = 1000
"""Rows that one transaction deletes."""
_IS_DELETABLE = (CachedResponseRow.expires_at <= func.now(), ~TenantRow.is_on_hold)


@dataclass
class ResponseCache:
    """The cached responses of one tenant; safe between threads.

    Attributes:
        keep_for: OPENROUTER_CACHE_TTL.
        only_in_run: id of the run that alone reads and writes these; "" is every run.
        retry_for_seconds: how long `put` retries while PostgreSQL is away: the response is paid.
        num_hits: how many responses were found.
    """

    engine: Engine
    tenant: str
    keep_for: timedelta
    only_in_run: str = ""
    retry_for_seconds: float = 120.0
    num_hits: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def get(self, key: str) -> str | None:
        """Return the response to the request of this hash, or None if there is none or it expired.

        Raises:
            TransientError: PostgreSQL is away.
        """
        row = CachedResponseRow
        statement = select(row.text).where(
            row.tenant_id == check_part(self.tenant, "tenant"),
            row.key == self._scoped(key),
            row.expires_at > func.now(),
        )
        with transaction(self.engine) as session:
            text: str | None = session.scalar(statement)
        if text is not None:
            with self._lock:
                self.num_hits += 1
        return text

    def put(self, key: str, text: str) -> None:
        """Store a response; an earlier one of the same key is replaced.

        Raises:
            PermanentError: unknown tenant, or the key is not a SHA-256.
            TransientError: PostgreSQL stays away.
        """
        changes = {"text": text, "expires_at": func.now() + self.keep_for}
        statement = (
            insert(CachedResponseRow)
            .values(tenant_id=check_part(self.tenant, "tenant"), key=self._scoped(key), **changes)
            .on_conflict_do_update(index_elements=["tenant_id", "key"], set_=changes)
        )

        def put() -> None:
            with transaction(self.engine) as session:
                session.execute(statement)

        retry_transient(put, retry_for_seconds=self.retry_for_seconds)

    def _scoped(self, key: str) -> str:
        return sha256_hex(f"{self.only_in_run} {key}".encode()) if self.only_in_run else key


def count_expired(session: Session) -> int:
    """Return how many responses `delete_expired_responses` would delete."""
    statement = (
        select(func.count()).select_from(CachedResponseRow).join(TenantRow).where(*_IS_DELETABLE)
    )
    return session.scalar(statement) or 0


def delete_expired_responses(engine: Engine, *, batch_rows: int = BATCH_ROWS) -> int:
    """Delete the expired responses of every tenant that is not on hold; return how many."""
    total = 0
    while True:
        with transaction(engine) as session:
            deleted = _delete_batch(session, batch_rows)
        total += deleted
        if deleted < batch_rows:
            return total


def _delete_batch(session: Session, batch_rows: int) -> int:
    row = CachedResponseRow
    # The lock on the tenant's row is what setting a hold waits for.
    found = (
        select(row.tenant_id, row.key)
        .join(TenantRow)
        .where(*_IS_DELETABLE)
        .limit(batch_rows)
        .with_for_update(read=True, of=TenantRow)
        .cte("found")
    )
    statement = delete(row).where(
        row.tenant_id == found.c.tenant_id,
        row.key == found.c.key,
        row.expires_at <= func.now(),  # not one that was renewed meanwhile
    )
    return len(session.scalars(statement.returning(row.key)).all())

"""Answers of language models, kept until they expire: a repeated call costs nothing.

A key is the SHA-256 of all that was asked, so no key can be guessed by whoever does not hold the
image. Rows belong to a tenant all the same, and each reads only its own: a hit would tell that
somebody else has the very same image; what one tenant paid for is not another's; a legal hold and
the end of a tenant need to know whose a row is. It costs nothing: tenants do not share images.

Times are PostgreSQL's. How long answers are kept is OPENROUTER_CACHE_TTL; who asks is a stage.
"""

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.keys import check_part
from influencerai_dagster.db.models.content import CachedResponseRow, TenantRow

BATCH = 1000
"""Rows that one transaction deletes."""
_MAY_GO = (CachedResponseRow.expires_at <= func.now(), ~TenantRow.is_on_hold)


def get_answer(session: Session, tenant: str, key: str) -> str | None:
    """Return the answer that a tenant got before, or None if there is none or it has expired."""
    row = CachedResponseRow
    statement = select(row.text).where(
        row.tenant_id == check_part(tenant, "tenant"), row.key == key, row.expires_at > func.now()
    )
    return session.scalar(statement)


def put_answer(session: Session, tenant: str, key: str, text: str, keep_for: timedelta) -> None:
    """Keep an answer from now on for so long; one of the same key is replaced.

    Raises:
        PermanentError: unknown tenant, or the key is no SHA-256.
    """
    changes = {"text": text, "expires_at": func.now() + keep_for}
    statement = insert(CachedResponseRow).values(
        tenant_id=check_part(tenant, "tenant"), key=key, **changes
    )
    session.execute(
        statement.on_conflict_do_update(index_elements=["tenant_id", "key"], set_=changes)
    )


def count_expired(session: Session) -> int:
    """Return how many answers `delete_expired` would delete."""
    statement = select(func.count()).select_from(CachedResponseRow).join(TenantRow).where(*_MAY_GO)
    return session.scalar(statement) or 0


def delete_expired(session: Session) -> int:
    """Delete up to BATCH answers that have expired, none of a tenant on hold; return how many."""
    row = CachedResponseRow
    # The lock on the tenant's row is what setting a hold waits for.
    found = (
        select(row.tenant_id, row.key)
        .join(TenantRow)
        .where(*_MAY_GO)
        .limit(BATCH)
        .with_for_update(read=True, of=TenantRow)
        .cte("found")
    )
    statement = delete(row).where(
        row.tenant_id == found.c.tenant_id,
        row.key == found.c.key,
        row.expires_at <= func.now(),  # not one that was renewed meanwhile
    )
    return len(session.scalars(statement.returning(row.key)).all())

"""Make, find and revoke API keys; the catalog has only their hashes."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from influencerai_dagster.core.access import Scope
from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.core.plain_text import text_problem
from influencerai_dagster.db.models.access import ApiKeyRow
from influencerai_dagster.db.users import Credentials, User, credentials_of_id
from influencerai_dagster.errors import PermanentError

KEY_PREFIX = "iai_"
"""The start of every key, by which scanners of source code know it."""
_KEY_BYTES = 32
_SHOWN_LENGTH = len(KEY_PREFIX) + 8
_MAX_NAME_LENGTH = 100
_USE_IS_RECORDED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class ApiKey:
    """An API key, without the key itself."""

    id: UUID
    tenant: str
    user_id: UUID
    name: str
    prefix: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: ApiKeyRow) -> "ApiKey":
        """Make the value from its row."""
        return cls(
            row.id,
            row.tenant_id,
            row.user_id,
            row.name,
            row.prefix,
            frozenset(map(Scope, row.scopes)),
            row.created_at,
            row.expires_at,
            row.last_used_at,
            row.revoked_at,
        )


def add_api_key(
    session: Session,
    user: User,
    name: str,
    scopes: Collection[Scope],
    *,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for a user; return it with its secret text, which nobody can read again.

    Raises:
        PermanentError: no scope, or a name that is not one line of plain text.
    """
    problem = text_problem(name.strip())
    if problem is not None or not 1 <= len(name.strip()) <= _MAX_NAME_LENGTH or not scopes:
        raise PermanentError(
            f"The API key {name[:80]!r} cannot be made: give it a name of one line, of 1 to "
            f"{_MAX_NAME_LENGTH} characters, and at least one scope of {', '.join(Scope)}"
        )
    key = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    row = session.scalars(
        insert(ApiKeyRow)
        .values(
            id=uuid4(),
            tenant_id=user.tenant,
            user_id=user.id,
            name=name.strip(),
            prefix=key[:_SHOWN_LENGTH],
            sha256=sha256_hex(key.encode()),
            scopes=sorted(scopes),
            expires_at=expires_at,
        )
        .returning(ApiKeyRow)
    ).one()
    return ApiKey.of(row), key


def list_api_keys(session: Session, tenant: str) -> list[ApiKey]:
    """Return the keys of a tenant, also those that are revoked or expired; the oldest first."""
    statement = select(ApiKeyRow).where(ApiKeyRow.tenant_id == tenant)
    return [
        ApiKey.of(row)
        for row in session.scalars(statement.order_by(ApiKeyRow.created_at, ApiKeyRow.id))
    ]


def revoke_api_key(session: Session, tenant: str, key_id: UUID) -> ApiKey | None:
    """Revoke a key from now on; return it, or None if the tenant has no such key."""
    statement = (
        update(ApiKeyRow)
        .where(ApiKeyRow.tenant_id == tenant, ApiKeyRow.id == key_id)
        .values(revoked_at=func.coalesce(ApiKeyRow.revoked_at, func.clock_timestamp()))
        .returning(ApiKeyRow)
    )
    row = session.scalars(statement, execution_options={"populate_existing": True}).one_or_none()
    return None if row is None else ApiKey.of(row)


def revoke_keys_of(session: Session, user_id: UUID) -> int:
    """Revoke every key that a user has made; return how many still counted."""
    revoked = session.scalars(
        update(ApiKeyRow)
        .where(ApiKeyRow.user_id == user_id, ApiKeyRow.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp())
        .returning(ApiKeyRow.id)
    )
    return len(revoked.all())


def use_api_key(session: Session, key: str) -> tuple[ApiKey, Credentials] | None:
    """Return a valid key with its user, and record its use; None if it is unknown or over."""
    row = session.scalars(
        select(ApiKeyRow).where(
            ApiKeyRow.sha256 == sha256_hex(key.encode()),
            ApiKeyRow.revoked_at.is_(None),
            ApiKeyRow.expires_at.is_(None) | (ApiKeyRow.expires_at > func.clock_timestamp()),
        )
    ).one_or_none()
    if row is None:
        return None
    credentials = credentials_of_id(session, row.user_id)
    if credentials is None:
        return None
    is_old = ApiKeyRow.last_used_at < func.clock_timestamp() - _USE_IS_RECORDED_EVERY
    session.execute(
        update(ApiKeyRow)
        .where(ApiKeyRow.id == row.id, ApiKeyRow.last_used_at.is_(None) | is_old)
        .values(last_used_at=func.clock_timestamp())
        .execution_options(synchronize_session=False)
    )
    return ApiKey.of(row), credentials

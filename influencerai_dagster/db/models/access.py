"""Define the tables of the API: users, API keys, the audit log, token buckets.

The functions that read and write them are in db/users.py, db/api_keys.py, db/audit.py and
db/rate_limits.py.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from influencerai_dagster.core.access import Role
from influencerai_dagster.db.models.content import NOW, CatalogModel, sha256_form

_ROLES = ", ".join(f"'{role}'" for role in Role)


class UserRow(CatalogModel):
    """An account that signs in; belongs to one tenant.

    Attributes:
        email: in lower case; the same address is one user of one tenant.
        password_hash: Argon2id.
        tokens_valid_from: tokens that were issued before are refused.
    """

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("email"),
        CheckConstraint("email = lower(email)", name="email_is_lower"),
        CheckConstraint(f"role IN ({_ROLES})", name="role_known"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    email: Mapped[str]
    password_hash: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    signed_in_at: Mapped[datetime | None]
    tokens_valid_from: Mapped[datetime] = mapped_column(server_default=NOW)


class ApiKeyRow(CatalogModel):
    """A key that a program signs in with, for a user and never for more than that user may.

    Attributes:
        prefix: the first characters of the key, by which people tell keys apart.
        sha256: of the key, which has 256 random bits; the key itself is shown once.
        expires_at: None for never.
        last_used_at: within a minute.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], ondelete="CASCADE"
        ),
        UniqueConstraint("sha256"),
        Index("ix_api_keys_tenant_id_user_id", "tenant_id", "user_id"),
        sha256_form(),
        CheckConstraint("cardinality(scopes) > 0", name="has_scope"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    user_id: Mapped[UUID]
    name: Mapped[str]
    prefix: Mapped[str]
    sha256: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuditEntryRow(CatalogModel):
    """What somebody did; written once, and chained to the entry before.

    Attributes:
        number: 1, 2, … in its tenant, without a gap.
        actor: who did it: an address, with the name of the API key; or the operator.
        action: "jobs.submit".
        target: what it was done to.
        address: from where, as the server saw it.
        sha256: of this entry and of the hash before.
    """

    __tablename__ = "audit_entries"
    __table_args__ = (sha256_form(), CheckConstraint("number > 0", name="number"))

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]
    detail: Mapped[dict[str, Any]]
    address: Mapped[str]
    sha256: Mapped[str]


class RateBucketRow(CatalogModel):
    """A token bucket, as it was when it was last used.

    Attributes:
        key: who is limited, in what.
    """

    __tablename__ = "rate_buckets"
    __table_args__ = (
        Index("ix_rate_buckets_updated_at", "updated_at"),
        CheckConstraint("tokens >= 0", name="tokens"),
    )

    key: Mapped[str] = mapped_column(primary_key=True)
    tokens: Mapped[float]
    updated_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))

"""Define the tables of tenants, influencers, datasets, LoRAs and cached responses, and their base.

Rows never leave a transaction: functions return frozen values, such as those of `db/records.py`.
A change here needs a migration in `migrations/versions/`; a test compares the two. What must never
be in a row (a name that leaves its tenant, a lease without an owner) is a constraint here, not only
a check in Python.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NOW = func.now()


def _slug(column: str) -> CheckConstraint:
    """Repeat the rule of core/keys.py: the name becomes a part of object keys."""
    return CheckConstraint(f"{column} ~ '^[a-z0-9][a-z0-9_-]{{0,62}}$'", name=f"{column}_is_part")


def own_object(column: str) -> CheckConstraint:
    """Return the check that an object key is below its tenant's prefix `<stage>/<tenant>/`."""
    return CheckConstraint(f"split_part({column}, '/', 2) = tenant_id", name=f"{column}_of_tenant")


def sha256_form() -> CheckConstraint:
    """Return the check that a hash has 64 hex digits."""
    return CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_form")


class CatalogModel(DeclarativeBase):
    """Base of all rows."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a class attribute
        str: Text(),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
    }


class TenantRow(CatalogModel):
    """Whom everything belongs to; of two tenants, one of weight 2 gets twice the GPU time.

    Attributes:
        retention_days: how long its images and videos are kept; None for RETENTION_DAYS.
        is_on_hold: legal hold, nothing of the tenant is deleted.
    """

    __tablename__ = "tenants"
    __table_args__ = (
        _slug("id"),
        CheckConstraint("gpu_weight > 0 AND gpu_weight <= 1000", name="gpu_weight_range"),
        CheckConstraint("retention_days BETWEEN 1 AND 36500", name="retention_days_range"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    gpu_weight: Mapped[float] = mapped_column(server_default=text("1"))
    retention_days: Mapped[int | None]
    is_on_hold: Mapped[bool] = mapped_column(server_default=text("false"))


class InfluencerRow(CatalogModel):
    """A virtual person; a dataset shows at most one."""

    __tablename__ = "influencers"
    __table_args__ = (UniqueConstraint("tenant_id", "dataset"), _slug("id"), _slug("dataset"))

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    persona: Mapped[dict[str, Any]]
    dataset: Mapped[str]
    trigger_phrase: Mapped[str]
    class_caption: Mapped[str]


class DatasetRow(CatalogModel):
    """The newest validated version of a dataset."""

    __tablename__ = "datasets"
    __table_args__ = (
        _slug("id"),
        own_object("manifest_key"),
        CheckConstraint("num_images >= 0 AND num_rejected >= 0", name="counts"),
    )

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str]
    manifest_key: Mapped[str]
    num_images: Mapped[int]
    num_rejected: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)


class LoraConfigRow(CatalogModel):
    """A tenant's own training parameters: a preset and what differs from it."""

    __tablename__ = "lora_configs"
    __table_args__ = (
        Index(
            "uq_lora_configs_default", "tenant_id", unique=True, postgresql_where=text("is_default")
        ),
        _slug("name"),
    )

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    is_default: Mapped[bool] = mapped_column(server_default=text("false"))
    preset: Mapped[str]
    overrides: Mapped[dict[str, Any]]


class LoraRow(CatalogModel):
    """One LoRA file. It outlives its dataset's row, so there is no foreign key to it."""

    __tablename__ = "loras"
    __table_args__ = (
        UniqueConstraint("tenant_id", "recipe_version"),
        UniqueConstraint("weights_key"),
        Index("ix_loras_newest", "tenant_id", "dataset", "chosen_at"),
        _slug("id"),
        _slug("dataset"),
        own_object("weights_key"),
        own_object("manifest_key"),
        sha256_form(),
        CheckConstraint("size_bytes > 0", name="size"),
    )

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    dataset: Mapped[str]
    dataset_version: Mapped[str]
    recipe_version: Mapped[str]
    base_model_family: Mapped[str]
    trigger_phrase: Mapped[str]
    weights_key: Mapped[str]
    sha256: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    manifest_key: Mapped[str]
    created_at: Mapped[datetime]
    chosen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CachedResponseRow(CatalogModel):
    """What a language model answered a tenant, until it expires.

    Attributes:
        key: SHA-256 of all that was asked.
    """

    __tablename__ = "llm_responses"
    __table_args__ = (
        CheckConstraint("key ~ '^[0-9a-f]{64}$'", name="key_form"),
        Index("ix_llm_responses_expires_at", "expires_at"),
    )

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str]
    expires_at: Mapped[datetime]

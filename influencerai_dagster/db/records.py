"""Frozen values that db/ returns to its callers, each made from one row.

Those of jobs are in generation/queue/records.py. Times are UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.db.models.content import (
    CatalogModel,
    DatasetRow,
    InfluencerRow,
    LoraRow,
    TenantRow,
)

ValueT = TypeVar("ValueT")


def value_of(cls: type[ValueT], row: CatalogModel, **others: object) -> ValueT:
    """Make a dataclass from the columns of a row that have the names of its fields.

    Args:
        cls: a dataclass.
        row: its row.
        others: the fields that are no columns, or of another type than their column.
    """
    names = {field.name for field in fields(cls)} - others.keys()  # type: ignore[arg-type] # a dataclass
    return cls(**{name: getattr(row, name) for name in names}, **others)


@dataclass(frozen=True)
class Tenant:
    """A tenant, whom all other rows belong to.

    Attributes:
        gpu_weight: of two tenants who both have work, one of weight 2 gets twice the GPU time.
    """

    id: str
    name: str
    created_at: datetime
    gpu_weight: float

    @classmethod
    def of(cls, row: TenantRow) -> "Tenant":
        """Make the value from its row."""
        return value_of(cls, row)


@dataclass(frozen=True)
class Influencer:
    """A virtual influencer.

    Attributes:
        persona: facts for the content plan, any JSON object.
        dataset: its photos, which may not be uploaded yet.
        trigger_phrase: the words of a prompt that make a LoRA draw it.
        class_caption: caption of a photo without its own, for example "photo of a woman".
    """

    tenant: str
    id: str
    name: str
    dataset: str
    trigger_phrase: str
    class_caption: str
    persona: Mapping[str, Any]

    @classmethod
    def of(cls, row: InfluencerRow) -> "Influencer":
        """Make the value from its row."""
        return value_of(cls, row, tenant=row.tenant_id)


@dataclass(frozen=True)
class Dataset:
    """The newest validated version of a dataset."""

    key: DatasetKey
    version: str
    manifest_key: str
    num_images: int
    num_rejected: int
    updated_at: datetime

    @classmethod
    def of(cls, row: DatasetRow) -> "Dataset":
        """Make the value from its row."""
        return value_of(cls, row, key=DatasetKey(row.tenant_id, row.id))


@dataclass(frozen=True)
class Lora:
    """One LoRA file; everything else about it is in its manifest."""

    tenant: str
    lora_id: str
    dataset: str
    dataset_version: str
    recipe_version: str
    base_model_family: BaseModelFamily
    trigger_phrase: str
    weights_key: str
    sha256: str
    size_bytes: int
    manifest_key: str
    created_at: datetime

    @classmethod
    def of(cls, row: LoraRow) -> "Lora":
        """Make the value from its row."""
        return value_of(
            cls,
            row,
            tenant=row.tenant_id,
            lora_id=row.id,
            base_model_family=BaseModelFamily(row.base_model_family),
        )

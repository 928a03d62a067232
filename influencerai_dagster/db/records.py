"""What the catalog hands to its callers: frozen values, each made from one row.

Those of jobs are in generation/queue/records.py. Times are UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.db.models.content import DatasetRow, InfluencerRow, LoraRow, TenantRow


@dataclass(frozen=True)
class Tenant:
    """Whom everything belongs to.

    Attributes:
        gpu_weight: of two tenants who both have work, one of weight 2 gets twice the GPU time.
    """

    id: str
    name: str
    created_at: datetime
    gpu_weight: float

    @classmethod
    def of(cls, row: TenantRow) -> "Tenant":
        """Make it from its row."""
        return cls(row.id, row.name, row.created_at, row.gpu_weight)


@dataclass(frozen=True)
class Influencer:
    """A virtual person.

    Attributes:
        persona: what the content plan is written from, any JSON object.
        dataset: the photos that show it, uploaded or not yet.
        trigger_phrase: the words that call it up in a prompt.
        class_caption: caption of a photo that has no other, for example "photo of a woman".
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
        """Make it from its row."""
        return cls(
            tenant=row.tenant_id,
            id=row.id,
            name=row.name,
            dataset=row.dataset,
            trigger_phrase=row.trigger_phrase,
            class_caption=row.class_caption,
            persona=row.persona,
        )


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
        """Make it from its row."""
        return cls(
            key=DatasetKey(row.tenant_id, row.id),
            version=row.version,
            manifest_key=row.manifest_key,
            num_images=row.num_images,
            num_rejected=row.num_rejected,
            updated_at=row.updated_at,
        )


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
        """Make it from its row."""
        return cls(
            tenant=row.tenant_id,
            lora_id=row.id,
            dataset=row.dataset,
            dataset_version=row.dataset_version,
            recipe_version=row.recipe_version,
            base_model_family=BaseModelFamily(row.base_model_family),
            trigger_phrase=row.trigger_phrase,
            weights_key=row.weights_key,
            sha256=row.sha256,
            size_bytes=row.size_bytes,
            manifest_key=row.manifest_key,
            created_at=row.created_at,
        )

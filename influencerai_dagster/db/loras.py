"""Record and list the LoRAs of tenants; their weights and the facts of their training are on S3."""

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.keys import check_part
from influencerai_dagster.core.manifests.loras import LoraManifest
from influencerai_dagster.core.names import unknown_name
from influencerai_dagster.db.models.content import LoraRow
from influencerai_dagster.db.records import Lora
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.errors import PermanentError


def record_lora(session: Session, manifest: LoraManifest, *, replaces: str | None = None) -> Lora:
    """Record a LoRA whose weights and manifest are on S3.

    Args:
        replaces: id of an earlier LoRA of this recipe that it replaces, because it was trained
            again on purpose or its objects are lost.

    Returns:
        The LoRA of this recipe: this one, or the one that another training of the same recipe
        recorded before.

    Raises:
        PermanentError: unknown tenant, or the id is taken by another recipe or other weights.
    """
    require_tenant(session, manifest.tenant)
    if replaces is not None:
        session.execute(
            delete(LoraRow).where(
                LoraRow.tenant_id == manifest.tenant,
                LoraRow.id == check_part(replaces, "LoRA"),
                LoraRow.recipe_version == manifest.recipe_version,
            )
        )
    statement = insert(LoraRow).values(
        tenant_id=manifest.tenant,
        id=check_part(manifest.lora_id, "LoRA"),
        dataset=manifest.dataset,
        dataset_version=manifest.dataset_version,
        recipe_version=manifest.recipe_version,
        base_model_family=manifest.base_model_family,
        trigger_phrase=manifest.trigger_phrase,
        weights_key=manifest.weights_key,
        sha256=manifest.weights_sha256,
        size_bytes=manifest.weights_size_bytes,
        manifest_key=manifest.object_key(),
        created_at=manifest.created_at,
        chosen_at=func.clock_timestamp(),
    )
    session.execute(statement.on_conflict_do_nothing())
    recorded = find_by_recipe(session, manifest.tenant, manifest.recipe_version)
    is_same_id = recorded is not None and recorded.lora_id == manifest.lora_id
    if recorded is None or (is_same_id and recorded.sha256 != manifest.weights_sha256):
        raise PermanentError(
            f"LoRA {manifest.lora_id!r} of tenant {manifest.tenant!r} is recorded already with "
            "another recipe or other weights; a LoRA never changes: train under a new id"
        )
    return recorded


def choose_lora(session: Session, tenant: str, lora_id: str) -> None:
    """Make a LoRA that was trained before the newest of its dataset again."""
    session.execute(
        update(LoraRow)
        .where(
            LoraRow.tenant_id == check_part(tenant, "tenant"),
            LoraRow.id == check_part(lora_id, "LoRA"),
        )
        .values(chosen_at=func.clock_timestamp())
    )


def find_by_recipe(session: Session, tenant: str, recipe_version: str) -> Lora | None:
    """Return the LoRA that this recipe made, or None if it was never trained."""
    return _first(session, tenant, LoraRow.recipe_version == recipe_version)


def newest_lora(session: Session, tenant: str, dataset: str) -> Lora | None:
    """Return the LoRA of a dataset that was trained or chosen last, or None if there is none."""
    return _first(session, tenant, LoraRow.dataset == check_part(dataset, "dataset"))


def get_lora(session: Session, tenant: str, lora_id: str) -> Lora | None:
    """Return a LoRA of this tenant, or None; one of another tenant is None too."""
    return _first(session, tenant, LoraRow.id == check_part(lora_id, "LoRA"))


def require_lora(session: Session, tenant: str, lora_id: str) -> Lora:
    """Return a LoRA of this tenant.

    Raises:
        PermanentError: unknown tenant, or it has no such LoRA.
    """
    lora = get_lora(session, tenant, lora_id)
    if lora is None:
        known = [item.lora_id for item in list_loras(session, tenant)]
        raise unknown_name(
            f"tenant {tenant!r} has no LoRA {lora_id!r}", lora_id, known, plural="LoRAs"
        )
    return lora


def list_loras(session: Session, tenant: str, dataset: str | None = None) -> list[Lora]:
    """Return the LoRAs of a tenant, or of one of its datasets, the newest first.

    Raises:
        PermanentError: unknown tenant.
    """
    require_tenant(session, tenant)
    statement = select(LoraRow).where(LoraRow.tenant_id == tenant)
    if dataset is not None:
        statement = statement.where(LoraRow.dataset == check_part(dataset, "dataset"))
    statement = statement.order_by(LoraRow.chosen_at.desc(), LoraRow.created_at.desc(), LoraRow.id)
    return [Lora.of(row) for row in session.scalars(statement)]


def _first(session: Session, tenant: str, condition: ColumnElement[bool]) -> Lora | None:
    row = session.scalars(
        select(LoraRow)
        .where(LoraRow.tenant_id == check_part(tenant, "tenant"), condition)
        .order_by(LoraRow.chosen_at.desc(), LoraRow.created_at.desc(), LoraRow.id)
        .limit(1)
    ).one_or_none()
    return None if row is None else Lora.of(row)

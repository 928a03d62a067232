"""Keep tenants' own training parameters: a preset and the fields that differ from it."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.keys import check_part
from influencerai_dagster.core.lora_training import PRESETS, LoraConfig
from influencerai_dagster.core.names import field_problems, unknown_name
from influencerai_dagster.db.models.content import LoraConfigRow
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.errors import PermanentError


def put_lora_config(
    session: Session,
    tenant: str,
    name: str,
    *,
    preset: str,
    overrides: Mapping[str, Any] | None = None,
    is_default: bool = False,
) -> LoraConfig:
    """Add a training configuration or replace the one of that name; return its parameters.

    Args:
        preset: a name in PRESETS.
        overrides: fields of LoraConfig that differ from the preset.
        is_default: used if a training names none; a tenant has at most one.

    Raises:
        PermanentError: unknown tenant or preset, a bad name or override, or another is the default.
    """
    require_tenant(session, tenant)
    config = _combined(preset, overrides or {}, f"configuration {name!r}")
    changes = {"preset": preset, "overrides": dict(overrides or {}), "is_default": is_default}
    statement = insert(LoraConfigRow).values(
        tenant_id=tenant, name=check_part(name, "configuration"), **changes
    )
    session.execute(
        statement.on_conflict_do_update(index_elements=["tenant_id", "name"], set_=changes)
    )
    return config


def resolve_lora_config(
    session: Session,
    tenant: str,
    name: str | None,
    default_preset: str,
    *,
    overrides: Mapping[str, Any] | None = None,
) -> LoraConfig:
    """Return the parameters to train with.

    Args:
        name: a configuration of the tenant or a preset; None takes the tenant's default
            configuration, or `default_preset` if there is none.
        default_preset: DEFAULT_TRAINING_PRESET.
        overrides: fields that this one training changes on top.

    Raises:
        PermanentError: there is neither a configuration nor a preset of that name, or an override
            cannot be used.
    """
    wanted = (
        LoraConfigRow.is_default
        if name is None
        else LoraConfigRow.name == check_part(name, "configuration")
    )
    row = session.scalars(
        select(LoraConfigRow).where(
            LoraConfigRow.tenant_id == check_part(tenant, "tenant"), wanted
        ),
        execution_options={"populate_existing": True},
    ).one_or_none()
    changes = dict(overrides or {})
    if row is None:
        known = known_configs(session, tenant)
        return _combined(name or default_preset, changes, f"training of tenant {tenant!r}", known)
    what = f"configuration {row.name!r} of tenant {tenant!r}"
    return _combined(row.preset, {**row.overrides, **changes}, what)


def all_configs(session: Session) -> dict[str, LoraConfig]:
    """Return the configurations of every tenant, by "tenant/name".

    Raises:
        PermanentError: one has an override that cannot be used.
    """
    rows = session.scalars(select(LoraConfigRow).order_by(LoraConfigRow.tenant_id))
    names = {f"{row.tenant_id}/{row.name}": row for row in rows}
    return {name: _combined(row.preset, row.overrides, name) for name, row in names.items()}


def resolve_preset(name: str) -> LoraConfig:
    """Return a preset; PermanentError if there is none of that name."""
    return _combined(name, {}, "DEFAULT_TRAINING_PRESET")


def known_configs(session: Session, tenant: str) -> list[str]:
    """Return the names that a training may be started with: the tenant's own and the presets."""
    own = session.scalars(select(LoraConfigRow.name).where(LoraConfigRow.tenant_id == tenant))
    return sorted({*own, *PRESETS})


def _combined(
    preset: str, overrides: Mapping[str, Any], what: str, known: Iterable[str] = PRESETS
) -> LoraConfig:
    if preset not in PRESETS:
        problem = f"{what}: there is no training preset or configuration {preset!r}"
        raise unknown_name(problem, preset, known, plural="presets and configurations")
    try:
        return PRESETS[preset].override(dict(overrides))
    except ValidationError as error:
        problems = "; ".join(field_problems(error, LoraConfig.model_fields))
        raise PermanentError(f"{what} has overrides that cannot be used: {problems}") from None

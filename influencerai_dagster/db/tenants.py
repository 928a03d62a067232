"""Add, read and change tenants and their influencers."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.core.keys import check_part
from influencerai_dagster.core.names import suggestion, unknown_name
from influencerai_dagster.core.plain_text import text_problem
from influencerai_dagster.db.models.content import InfluencerRow, TenantRow
from influencerai_dagster.db.models.scheduling import GpuShareRow
from influencerai_dagster.db.records import Influencer, Tenant
from influencerai_dagster.errors import PermanentError, UnknownNameError

_MAX_TEXT_LENGTH = 200
_MAX_GPU_WEIGHT = 1000


def add_tenant(
    session: Session, tenant: str, *, name: str | None = None, gpu_weight: float = 1.0
) -> bool:
    """Add a tenant; an existing one stays as it is.

    Args:
        name: how it is shown; the id if None.
        gpu_weight: its part of the GPU time; of two tenants who both have work, one of weight 2
            gets twice as much as one of weight 1.

    Returns:
        Whether it is new.
    """
    values = {
        "id": check_part(tenant, "tenant"),
        "name": _line(name or tenant, "tenant name"),
        "gpu_weight": _weight(gpu_weight),
    }
    statement = insert(TenantRow).values(values).on_conflict_do_nothing().returning(TenantRow.id)
    return session.execute(statement).scalar() is not None


def require_tenant(session: Session, tenant: str) -> Tenant:
    """Return the tenant.

    Raises:
        PermanentError: there is none of that name.
    """
    row = session.get(TenantRow, check_part(tenant, "tenant"))
    if row is None:
        raise unknown_tenant(session, tenant)
    return Tenant.of(row)


def unknown_tenant(session: Session, tenant: str) -> UnknownNameError:
    """Return the error for an unknown tenant.

    Only its hint for operators names other tenants.
    """
    known = session.scalars(select(TenantRow.id))
    return UnknownNameError(
        f"tenant {tenant!r} is unknown; add it with `influencerai tenant add {tenant}`",
        operator_hint=suggestion(tenant, known, plural="tenants"),
    )


def set_gpu_weight(session: Session, tenant: str, gpu_weight: float) -> None:
    """Change a tenant's part of the GPU time, from its next claim on.

    Raises:
        PermanentError: unknown tenant, or a weight that is not above 0 and at most 1000.
    """
    require_tenant(session, tenant)
    values = {"gpu_weight": _weight(gpu_weight)}
    session.execute(update(TenantRow).where(TenantRow.id == tenant).values(values))


def gpu_seconds_used(session: Session) -> dict[str, float]:
    """Return the total render time of every tenant that had any."""
    rows = session.execute(select(GpuShareRow.tenant_id, GpuShareRow.used_seconds))
    return {row.tenant_id: row.used_seconds for row in rows}


def list_tenants(session: Session) -> list[Tenant]:
    """Return all tenants by id."""
    return [Tenant.of(row) for row in session.scalars(select(TenantRow).order_by(TenantRow.id))]


def put_influencer(
    session: Session,
    tenant: str,
    influencer: str,
    *,
    dataset: str,
    trigger_phrase: str,
    class_caption: str,
    name: str | None = None,
    persona: Mapping[str, Any] | None = None,
) -> Influencer:
    """Add an influencer or replace its fields.

    Args:
        dataset: its photos; they may be uploaded later.
        trigger_phrase: one line; comes first in every caption.
        class_caption: one line; the caption of a photo without its own.
        name: how it is shown; the id if None.
        persona: a JSON object.

    Raises:
        PermanentError: unknown tenant, a bad name or text, or another influencer has the dataset.
    """
    require_tenant(session, tenant)
    changes = {
        "name": _line(name or influencer, "influencer name"),
        "dataset": check_part(dataset, "dataset"),
        "trigger_phrase": _line(trigger_phrase, "trigger phrase"),
        "class_caption": _line(class_caption, "class caption"),
        "persona": dict(persona or {}),
    }
    values = {"tenant_id": tenant, "id": check_part(influencer, "influencer"), **changes}
    statement = (
        insert(InfluencerRow)
        .values(values)
        .on_conflict_do_update(index_elements=["tenant_id", "id"], set_=changes)
        .returning(InfluencerRow)
    )
    options = {"populate_existing": True}
    return Influencer.of(session.scalars(statement, execution_options=options).one())


def find_influencer(session: Session, tenant: str, influencer: str) -> Influencer | None:
    """Return an influencer; None if the tenant has none of that name."""
    row = session.get(
        InfluencerRow, (check_part(tenant, "tenant"), check_part(influencer, "influencer"))
    )
    return None if row is None else Influencer.of(row)


def get_influencer(session: Session, tenant: str, influencer: str) -> Influencer:
    """Return an influencer.

    Raises:
        PermanentError: the tenant has none of that name.
    """
    found = find_influencer(session, tenant, influencer)
    if found is None:
        known = [item.id for item in list_influencers(session, tenant)]
        raise unknown_name(
            f"tenant {tenant!r} has no influencer {influencer!r}",
            influencer,
            known,
            plural="influencers",
            advice=f"Add it with `influencerai influencer add {influencer} --tenant {tenant}`",
        )
    return found


def list_influencers(session: Session, tenant: str) -> list[Influencer]:
    """Return the influencers of a tenant by id.

    Raises:
        PermanentError: unknown tenant.
    """
    require_tenant(session, tenant)
    statement = select(InfluencerRow).where(InfluencerRow.tenant_id == tenant)
    return [Influencer.of(row) for row in session.scalars(statement.order_by(InfluencerRow.id))]


def influencer_of_dataset(session: Session, tenant: str, dataset: str) -> Influencer | None:
    """Return the influencer of a dataset, or None if it belongs to none."""
    row = session.scalars(
        select(InfluencerRow).where(
            InfluencerRow.tenant_id == check_part(tenant, "tenant"),
            InfluencerRow.dataset == check_part(dataset, "dataset"),
        )
    ).one_or_none()
    return None if row is None else Influencer.of(row)


def _weight(value: float) -> float:
    if not 0 < value <= _MAX_GPU_WEIGHT:  # NaN is not either
        raise PermanentError(
            f"GPU weight {value:g} is not allowed: use a number above 0 and at most "
            f"{_MAX_GPU_WEIGHT}; 1 is what a tenant has by default"
        )
    return value


def _line(value: str, what: str) -> str:
    """Return `value` without outer blanks if it is one line of plain text."""
    line = value.strip()
    problem = text_problem(line)
    if problem is None and not 1 <= len(line) <= _MAX_TEXT_LENGTH:
        problem = f"it has {len(line)} characters"
    if problem is not None:
        raise PermanentError(
            f"{what} {value[:80]!r} is not allowed: {problem}. Use one line of 1 to "
            f"{_MAX_TEXT_LENGTH} characters"
        )
    return line

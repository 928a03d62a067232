"""Tenants and their influencers."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.catalog.models import InfluencerRow, TenantRow
from influencerai_dagster.catalog.records import Influencer, Tenant
from influencerai_dagster.domain.keys import check_part
from influencerai_dagster.errors import PermanentError

_MAX_TEXT_LENGTH = 200


def add_tenant(session: Session, tenant: str, *, name: str | None = None) -> bool:
    """Add a tenant; one that is there already stays as it is.

    Args:
        name: how it is shown; the id if None.

    Returns:
        Whether it is new.
    """
    values = {"id": check_part(tenant, "tenant"), "name": _line(name or tenant, "tenant name")}
    statement = insert(TenantRow).values(values).on_conflict_do_nothing().returning(TenantRow.id)
    return session.execute(statement).scalar() is not None


def require_tenant(session: Session, tenant: str) -> Tenant:
    """Return the tenant.

    Raises:
        PermanentError: there is none of that name.
    """
    row = session.get(TenantRow, check_part(tenant, "tenant"))
    if row is None:
        raise unknown_tenant(tenant)
    return Tenant.of(row)


def unknown_tenant(tenant: str) -> PermanentError:
    """Return the error for a tenant that is not there."""
    return PermanentError(
        f"tenant {tenant!r} is unknown; add it with `influencerai tenant add {tenant}`"
    )


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
    """Add an influencer or replace what is known of it.

    Args:
        dataset: the photos that show it; they may be uploaded later.
        trigger_phrase: one line; comes first in every caption.
        class_caption: one line; the caption of a photo that has no other.
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


def get_influencer(session: Session, tenant: str, influencer: str) -> Influencer:
    """Return an influencer.

    Raises:
        PermanentError: the tenant has none of that name.
    """
    row = session.get(
        InfluencerRow, (check_part(tenant, "tenant"), check_part(influencer, "influencer"))
    )
    if row is None:
        raise PermanentError(
            f"tenant {tenant!r} has no influencer {influencer!r}; add it with "
            f"`influencerai influencer add {influencer} --tenant {tenant}`"
        )
    return Influencer.of(row)


def influencer_of_dataset(session: Session, tenant: str, dataset: str) -> Influencer | None:
    """Return the influencer that a dataset shows, or None if it shows nobody known."""
    row = session.scalars(
        select(InfluencerRow).where(
            InfluencerRow.tenant_id == check_part(tenant, "tenant"),
            InfluencerRow.dataset == check_part(dataset, "dataset"),
        )
    ).one_or_none()
    return None if row is None else Influencer.of(row)


def _line(value: str, what: str) -> str:
    """Return `value` without outer blanks if it is one printable line."""
    line = value.strip()
    if not line or not line.isprintable() or len(line) > _MAX_TEXT_LENGTH:
        raise PermanentError(
            f"{what} {value[:80]!r} is not allowed: use one line of 1 to {_MAX_TEXT_LENGTH} "
            "printable characters"
        )
    return line

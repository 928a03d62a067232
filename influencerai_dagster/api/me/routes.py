"""GET /me."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from influencerai_dagster.api.auth.callers import AnyCaller
from influencerai_dagster.core.access import Role, Scope
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import require_tenant

router = APIRouter(tags=["me"])


class MyTenant(BaseModel):
    """The tenant that you belong to."""

    id: str
    name: str


class Me(BaseModel):
    """Who you are, and what this token or key may do."""

    user_id: UUID
    email: str
    role: Role
    scopes: list[Scope]
    api_key: Annotated[str | None, Field(description="the name of the key; null for a token")]
    tenant: MyTenant


@router.get("/me", summary="Tell who is asking", operation_id="get_me")
def get_me(caller: AnyCaller) -> Me:
    """Return the user and tenant of the token or key."""
    with transaction(caller.engine) as session:
        tenant = require_tenant(session, caller.tenant)
    return Me(
        user_id=caller.user.id,
        email=caller.user.email,
        role=caller.user.role,
        scopes=sorted(caller.scopes),
        api_key=caller.api_key.name if caller.api_key else None,
        tenant=MyTenant(id=tenant.id, name=tenant.name),
    )

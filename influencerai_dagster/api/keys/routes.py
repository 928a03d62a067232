"""GET, POST and DELETE /api-keys."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from influencerai_dagster.api.auth.callers import AdminCaller
from influencerai_dagster.api.problems import RefusedRequestError, not_found
from influencerai_dagster.core.access import Scope
from influencerai_dagster.db import api_keys
from influencerai_dagster.db.api_keys import ApiKey
from influencerai_dagster.db.engine import transaction

router = APIRouter(prefix="/api-keys", tags=["api keys"])


class KeyDocument(BaseModel):
    """An API key; the key itself was shown when it was made."""

    id: UUID
    name: str
    prefix: str
    scopes: list[Scope]
    user_id: UUID
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> "KeyDocument":
        """Make the document of a key."""
        return cls(
            id=key.id,
            name=key.name,
            prefix=key.prefix,
            scopes=sorted(key.scopes),
            user_id=key.user_id,
            created_at=key.created_at,
            expires_at=key.expires_at,
            last_used_at=key.last_used_at,
            revoked_at=key.revoked_at,
        )


class KeyList(BaseModel):
    """The API keys of a tenant, the oldest first."""

    items: list[KeyDocument]


class NewKey(BaseModel):
    """An API key to make; it acts for you, and never does more than you may."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"name": "shop", "scopes": ["read", "jobs"], "expires_in_days": 90}
        },
    )

    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    expires_in_days: Annotated[int, Field(ge=1, le=3650, strict=True)] | None = None


class MadeKey(KeyDocument):
    """An API key with its secret text, which is never shown again."""

    key: str


@router.get("", summary="List the API keys", operation_id="list_api_keys")
def list_keys(caller: AdminCaller) -> KeyList:
    """Return the keys of your tenant, also those that are revoked or expired."""
    with transaction(caller.engine) as session:
        keys = api_keys.list_api_keys(session, caller.tenant)
    return KeyList(items=[KeyDocument.of(key) for key in keys])


@router.post(
    "", summary="Make an API key", operation_id="create_api_key", status_code=HTTPStatus.CREATED
)
def create_key(body: NewKey, caller: AdminCaller) -> MadeKey:
    """Make a key that nobody can read again; one made by a key ends with that at the latest."""
    beyond = set(body.scopes) - caller.scopes
    if beyond:
        raise RefusedRequestError(
            HTTPStatus.FORBIDDEN,
            "missing_scope",
            f"You cannot give {', '.join(sorted(beyond))}: you do not have it yourself.",
        )
    days = body.expires_in_days
    ends = [
        None if days is None else datetime.now(UTC) + timedelta(days=days),
        None if caller.api_key is None else caller.api_key.expires_at,
    ]
    expires_at = min((end for end in ends if end is not None), default=None)
    with transaction(caller.engine) as session:
        made, key = api_keys.add_api_key(
            session, caller.user, body.name, set(body.scopes), expires_at=expires_at
        )
        detail = {"name": made.name, "scopes": sorted(made.scopes)}
        caller.record(session, "api_keys.create", str(made.id), detail)
    return MadeKey(**KeyDocument.of(made).model_dump(), key=key)


@router.delete(
    "/{key_id}",
    summary="Revoke an API key",
    operation_id="revoke_api_key",
    status_code=HTTPStatus.NO_CONTENT,
)
def revoke_key(key_id: UUID, caller: AdminCaller) -> None:
    """Refuse a key from now on."""
    with transaction(caller.engine) as session:
        revoked = api_keys.revoke_api_key(session, caller.tenant, key_id)
        if revoked is None:
            raise not_found(f"API key {key_id}")
        caller.record(session, "api_keys.revoke", str(key_id), {"name": revoked.name})

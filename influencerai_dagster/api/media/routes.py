"""GET /media."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from influencerai_dagster.api.auth.callers import Caller, Reader
from influencerai_dagster.api.context import ApiContext, api_context
from influencerai_dagster.api.influencers.schemas import Name
from influencerai_dagster.api.pages import Cursor, Day, Limit
from influencerai_dagster.api.problems import not_found
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import find_influencer
from influencerai_dagster.generation.queue import MediaAsset
from influencerai_dagster.generation.queue.media import get_media_asset, list_media_assets

router = APIRouter(prefix="/media", tags=["media"])
_LINK_SECONDS = 300


class MediaDocument(BaseModel):
    """An image or video; GET /media/{id}/content has the file."""

    id: UUID
    job_id: UUID
    kind: JobKind
    width_px: int
    height_px: int
    duration_seconds: Annotated[float | None, Field(description="null for an image")]
    size_bytes: int
    sha256: str
    created_at: datetime

    @classmethod
    def of(cls, asset: MediaAsset) -> "MediaDocument":
        """Make the document of an image or video."""
        return cls(**{name: getattr(asset, name) for name in cls.model_fields})


class MediaPage(BaseModel):
    """Images and videos, newest first."""

    items: list[MediaDocument]
    next_cursor: Annotated[UUID | None, Field(description="null on the last page")]


@router.get("", summary="List images and videos", operation_id="list_media")
def list_media(
    caller: Reader,
    *,
    influencer: Annotated[Name | None, Query(description="only those that show it")] = None,
    day: Annotated[Day | None, Query(description="UTC day of the job")] = None,
    kind: JobKind | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> MediaPage:
    """Return images and videos, newest first; what retention has deleted is not among them."""
    with transaction(caller.engine) as session:
        dataset = None
        if influencer is not None:
            found = find_influencer(session, caller.tenant, influencer)
            if found is None:
                raise not_found(f"influencer {influencer}")
            dataset = found.dataset
        assets = list_media_assets(
            session,
            caller.tenant,
            dataset=dataset,
            day=day,
            kind=kind,
            before=None if cursor is None else _own_asset(session, caller, cursor),
            limit=limit + 1,
        )
    items = [MediaDocument.of(asset) for asset in assets[:limit]]
    return MediaPage(items=items, next_cursor=items[-1].id if len(assets) > limit else None)


@router.get("/{media_id}", summary="Get an image or video", operation_id="get_media")
def show_media(media_id: UUID, caller: Reader) -> MediaDocument:
    """Return what is known of an image or video."""
    with transaction(caller.engine) as session:
        return MediaDocument.of(_own_asset(session, caller, media_id))


@router.get(
    "/{media_id}/content",
    summary="Open the file of an image or video",
    operation_id="get_media_content",
    status_code=HTTPStatus.TEMPORARY_REDIRECT,
    response_class=RedirectResponse,
)
def open_media(
    media_id: UUID, caller: Reader, context: Annotated[ApiContext, Depends(api_context)]
) -> RedirectResponse:
    """Redirect to the file; the link is valid for 5 minutes, and a new one is made each time."""
    with transaction(caller.engine) as session:
        asset = _own_asset(session, caller, media_id)
    url = context.store.presign_get(asset.object_key, expires_seconds=_LINK_SECONDS)
    return RedirectResponse(url, HTTPStatus.TEMPORARY_REDIRECT)


def _own_asset(session: Session, caller: Caller, media_id: UUID) -> MediaAsset:
    asset = get_media_asset(session, caller.tenant, media_id)
    if asset is None or asset.deleted_at is not None:
        raise not_found(f"image or video {media_id}")
    return asset

"""GET and PUT /influencers."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path

from influencerai_dagster.api.auth.callers import DatasetsCaller, Reader
from influencerai_dagster.api.influencers.schemas import (
    InfluencerDocument,
    InfluencerFields,
    InfluencerList,
    Name,
)
from influencerai_dagster.api.problems import RefusedRequestError, not_found
from influencerai_dagster.db import tenants
from influencerai_dagster.db.engine import transaction

router = APIRouter(prefix="/influencers", tags=["influencers"])
InfluencerId = Annotated[Name, Path(description="a-z, 0-9, _ and -")]


@router.get("", summary="List influencers", operation_id="list_influencers")
def list_influencers(caller: Reader) -> InfluencerList:
    """Return the influencers of your tenant, by id."""
    with transaction(caller.engine) as session:
        found = tenants.list_influencers(session, caller.tenant)
    return InfluencerList(items=[InfluencerDocument.of(item) for item in found])


@router.get("/{influencer}", summary="Get an influencer", operation_id="get_influencer")
def show_influencer(influencer: InfluencerId, caller: Reader) -> InfluencerDocument:
    """Return an influencer with its persona."""
    with transaction(caller.engine) as session:
        found = tenants.find_influencer(session, caller.tenant, influencer)
    if found is None:
        raise not_found(f"influencer {influencer}")
    return InfluencerDocument.of(found)


@router.put("/{influencer}", summary="Add or replace an influencer", operation_id="put_influencer")
def put_influencer(
    influencer: InfluencerId, body: InfluencerFields, caller: DatasetsCaller
) -> InfluencerDocument:
    """Add an influencer, or replace all of its fields."""
    with transaction(caller.engine) as session:
        caller.record(session, "influencers.put", influencer)  # its lock lets one write at a time
        other = tenants.influencer_of_dataset(session, caller.tenant, body.dataset)
        if other is not None and other.id != influencer:
            raise RefusedRequestError(
                HTTPStatus.CONFLICT,
                "dataset_taken",
                f"Dataset {body.dataset} shows influencer {other.id}: name another one.",
            )
        stored = tenants.put_influencer(
            session,
            caller.tenant,
            influencer,
            dataset=body.dataset,
            trigger_phrase=body.trigger_phrase,
            class_caption=body.class_caption,
            name=body.name,
            persona=body.persona,
        )
    return InfluencerDocument.of(stored)

"""GET /queue and /usage."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from influencerai_dagster.api.auth.callers import Reader
from influencerai_dagster.api.context import ApiContext, api_context
from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import today
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.generation.queue.usage import counts_by_kind, usage_of_month

router = APIRouter(tags=["queue"])


class QueueSummary(BaseModel):
    """How many jobs of each kind are in each status, over all days.

    Attributes:
        max_pending: how many may be pending at once.
    """

    jobs: dict[JobKind, dict[JobStatus, int]]
    max_pending: int


class Usage(BaseModel):
    """What the jobs of a month took; a job belongs to the month of its day.

    Attributes:
        gpu_seconds: render time over all attempts.
        cost_usd: what was paid for them.
        jobs: how many are in each status.
    """

    month: str
    gpu_seconds: float
    cost_usd: Decimal
    jobs: dict[JobStatus, int]


@router.get("/queue", summary="Summarize the queue", operation_id="get_queue")
def show_queue(
    caller: Reader, context: Annotated[ApiContext, Depends(api_context)]
) -> QueueSummary:
    """Return how many jobs wait, run and have ended."""
    with transaction(caller.engine) as session:
        counts = counts_by_kind(session, caller.tenant)
    return QueueSummary(
        jobs=counts, max_pending=context.settings.generation.max_pending_jobs_per_tenant
    )


@router.get("/usage", summary="Get the usage of a month", operation_id="get_usage")
def show_usage(
    caller: Reader,
    month: Annotated[
        str | None,
        Query(
            pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$", description="YYYY-MM; this month if left out"
        ),
    ] = None,
) -> Usage:
    """Return GPU time, cost and jobs of a month."""
    first = today().replace(day=1) if month is None else date.fromisoformat(f"{month}-01")
    with transaction(caller.engine) as session:
        found = usage_of_month(session, caller.tenant, first)
    return Usage(
        month=f"{first:%Y-%m}",
        gpu_seconds=found.gpu_seconds,
        cost_usd=found.cost_usd,
        jobs=dict(found.jobs),
    )

"""GET /health and /ready: without authentication, and without secrets."""

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from influencerai_dagster.api.context import ApiContext, api_context
from influencerai_dagster.api.health.checks import OK

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """This process is alive."""

    status: Literal["ok"]
    database: Literal["connected", "disconnected"]
    version: str


class ReadyChecks(BaseModel):
    """Whether requests can be served, and which check failed."""

    status: Literal["ready", "not ready"]
    checks: dict[str, Literal["ok", "failed"]]


@router.get("/health", summary="Tell whether the process is alive", operation_id="health")
def health(context: Annotated[ApiContext, Depends(api_context)]) -> Health:
    """Return 200 as long as the process answers, also while the database does not."""
    is_connected = context.readiness.database() == OK
    return Health(
        status="ok",
        database="connected" if is_connected else "disconnected",
        version=context.version,
    )


@router.get(
    "/ready",
    summary="Tell whether requests can be served",
    operation_id="ready",
    responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": ReadyChecks}},
)
def ready(context: Annotated[ApiContext, Depends(api_context)], response: Response) -> ReadyChecks:
    """Return 200 if database, migrations and object store are there, otherwise 503."""
    checks = context.readiness.all()
    is_ready = set(checks.values()) == {OK}
    if not is_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return ReadyChecks.model_validate(
        {"status": "ready" if is_ready else "not ready", "checks": checks}
    )

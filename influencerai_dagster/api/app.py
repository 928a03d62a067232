"""Put the routes together; the settings say which pages of other origins may ask."""

from functools import partial

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware

from influencerai_dagster.api import documentation
from influencerai_dagster.api.auth.routes import router as auth_router
from influencerai_dagster.api.context import ApiContext
from influencerai_dagster.api.health.routes import router as health_router
from influencerai_dagster.api.influencers.routes import router as influencers_router
from influencerai_dagster.api.jobs.routes import router as jobs_router
from influencerai_dagster.api.keys.routes import router as keys_router
from influencerai_dagster.api.me.routes import router as me_router
from influencerai_dagster.api.media.routes import router as media_router
from influencerai_dagster.api.middleware import MAX_SIGN_IN_BYTES, Envelope, WholeBody
from influencerai_dagster.api.problems import add_handlers
from influencerai_dagster.api.queue.routes import router as queue_router

ROUTERS: tuple[APIRouter, ...] = (
    auth_router,
    me_router,
    keys_router,
    jobs_router,
    media_router,
    influencers_router,
    queue_router,
)
"""The resources, below PREFIX."""
PREFIX = "/api/v1"
_PREFLIGHT_SECONDS = 600
_SHOWN_HEADERS = (
    *("Location", "Retry-After", "X-Request-Id"),
    *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
)


def create_app(context: ApiContext) -> FastAPI:
    """Return the application of a context; it opens nothing."""
    api = context.settings.api
    app = FastAPI(
        title="InfluencerAI",
        summary="Photos of a virtual influencer to LoRA, images and videos.",
        version="1",
        openapi_url=documentation.OPENAPI_PATH if api.has_docs else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=True,
    )
    app.state.context = context
    app.openapi = partial(documentation.openapi_document, app)  # type: ignore[method-assign] # FastAPI's own way
    if api.has_docs:
        app.router.routes.extend(documentation.docs_routes())
    app.include_router(health_router, responses=documentation.EVERY_ERROR)
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX, responses=documentation.EVERY_ERROR)
    add_handlers(app)
    app.add_middleware(WholeBody, smaller={f"{PREFIX}/auth/token": MAX_SIGN_IN_BYTES})
    if api.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=api.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"],
            expose_headers=_SHOWN_HEADERS,
            max_age=_PREFLIGHT_SECONDS,
        )
    app.add_middleware(Envelope)
    return app

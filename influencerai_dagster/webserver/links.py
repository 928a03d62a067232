"""Serve `/files/<object key>`: a link to an object that does not expire.

A link that S3 signs ends after an hour, so metadata cannot hold it. This one asks S3 for a new one
each time, and lets in whom the gate lets in.
"""

from functools import cache, partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from influencerai_dagster.core.object_paths import FILES_PATH
from influencerai_dagster.errors import InfluencerAIError, TransientError
from influencerai_dagster.settings import Settings
from influencerai_dagster.wiring.stores import assets_store

_NOT_FOUND, _UNAVAILABLE = 404, 503


def file_route(settings: Settings) -> Route:
    """Return the route; it connects to S3 when it is first asked."""
    connect = cache(partial(assets_store, settings))

    def link(key: str) -> str | None:
        store = connect()
        if store.head(key) is None:
            return None
        return store.presign_get(key, expires_seconds=settings.s3.presign_seconds)

    async def redirect(request: Request) -> Response:
        key = request.path_params["key"]
        try:
            url = await run_in_threadpool(link, key)
        except InfluencerAIError as error:
            status = _UNAVAILABLE if isinstance(error, TransientError) else _NOT_FOUND
            return PlainTextResponse(f"{error}\n", status)
        if url is None:
            text = f"There is no object {key} in bucket {settings.s3.bucket}: was it deleted?\n"
            return PlainTextResponse(text, _NOT_FOUND)
        return RedirectResponse(url, headers={"Cache-Control": "no-store"})

    return Route(f"{FILES_PATH}{{key:path}}", redirect, methods=["GET"])

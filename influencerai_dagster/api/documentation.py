"""Describe the API: openapi.json, and the page that shows it.

The page loads Swagger UI from jsDelivr: a version whose bytes the browser compares with a hash.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from influencerai_dagster.api.problems import MEDIA_TYPE, Problem

OPENAPI_PATH = "/api/openapi.json"
DOCS_PATH = "/api/docs"
_CDN = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0"
_SCRIPT_HASH = "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9"
_STYLE_HASH = "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I"
_START = f"""
addEventListener("DOMContentLoaded", () =>
  SwaggerUIBundle({{url: "{OPENAPI_PATH}", dom_id: "#ui", deepLinking: true}}))
"""
_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>InfluencerAI API</title>
<link rel="stylesheet" href="{_CDN}/swagger-ui.css"
      integrity="{_STYLE_HASH}" crossorigin="anonymous">
<script src="{_CDN}/swagger-ui-bundle.js"
        integrity="{_SCRIPT_HASH}" crossorigin="anonymous"></script>
<script src="{DOCS_PATH}/start.js"></script>
<body>
<div id="ui">
  This page needs cdn.jsdelivr.net. Without it, read <a href="{OPENAPI_PATH}">openapi.json</a>.
</div>
"""
_POLICY = (
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; connect-src 'self'; "
    "img-src 'self' data:; script-src 'self' https://cdn.jsdelivr.net; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net"
)
_PROBLEM = {
    "description": "A problem: `code` says which",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
EVERY_ERROR: dict[int | str, dict[str, Any]] = {"default": _PROBLEM}
"""The responses that every route has."""


def docs_routes() -> list[Route]:
    """Return the page and its script."""
    return [Route(DOCS_PATH, _page), Route(f"{DOCS_PATH}/start.js", _start)]


async def _page(_: Request) -> Response:
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


async def _start(_: Request) -> Response:
    return Response(_START, media_type="text/javascript")


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the description of an application, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem.pop("$defs") | {"Problem": problem}
        for schema in schemas.values():
            _require_kind(schema)
        app.openapi_schema = document
    return app.openapi_schema


def _require_kind(schema: dict[str, Any]) -> None:
    """Say that a payload needs its `kind`, which has a default and tells the payloads apart."""
    kind = schema.get("properties", {}).get("kind", {})
    if "const" in kind:
        kind.pop("default", None)
        schema["required"] = sorted({"kind", *schema.get("required", [])})

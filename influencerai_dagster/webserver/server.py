"""Serve Dagster's web server with routes of our own, and without GET requests that act.

Dagster has no public way to put a middleware before its application; this module imports from
`dagster._core` what its own command imports.
"""

import logging
from pathlib import Path
from typing import Any

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.version import __version__
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.settings import Settings
from influencerai_dagster.webserver.authentication import authenticators
from influencerai_dagster.webserver.authorities import own_authorities
from influencerai_dagster.webserver.gate import HEALTH_PATH, Gate
from influencerai_dagster.webserver.links import file_route
from influencerai_dagster.webserver.run_starter import running_starter

# As `dagster-webserver` has them.
_STATEMENT_TIMEOUT_MS = 15_000
_POOL_RECYCLE_SECONDS = 3600
_POOL_MAX_OVERFLOW = 20
_LIVE_DATA_POLL_MS = 2000
_STOP_SECONDS = 5
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_NOTEBOOKS = {"/notebook", "/dagit/notebook"}
"""Would read a file of the code server by its path and show it as a page of ours; we have none."""


class OperatorsWebserver(DagsterWebserver[WorkspaceProcessContext, Any]):
    """Dagster's web server behind the gate."""

    def __init__(self, context: WorkspaceProcessContext, settings: Settings) -> None:
        """Serve a workspace to the users of the settings; PermanentError if they contradict."""
        super().__init__(context, live_data_poll_rate=_LIVE_DATA_POLL_MS)
        self._files = file_route(settings)
        self._gate = Middleware(
            Gate,
            authorities=own_authorities(settings),
            authenticators=authenticators(settings),
        )

    def build_middleware(self) -> list[Middleware]:
        """Put the gate before everything."""
        return [self._gate, *super().build_middleware()]

    def build_routes(self) -> list[BaseRoute]:
        """Leave out unused routes; add links to files, and an answer to health probes."""
        theirs: list[BaseRoute] = super().build_routes()  # type: ignore[no-untyped-call]
        kept = [route for route in theirs if getattr(route, "path", "") not in _NOTEBOOKS]
        return [Route(HEALTH_PATH, _health), self._files, *kept]

    async def graphql_http_endpoint(self, request: Request) -> Response:
        """Execute a posted query; a GET returns the page to try queries on, and runs none."""
        if request.method != "POST" and "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse("Send GraphQL by POST.\n", 405, {"Allow": "POST"})
        response: Response = await super().graphql_http_endpoint(request)
        return response


async def _health(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def serve(settings: Settings, workspace: Path) -> None:
    """Serve the UI and GraphQL, and start runs for jobs, until SIGTERM or Ctrl-C.

    Args:
        settings: where to listen, and which users and hosts are accepted.
        workspace: workspace.yaml, which names the code server.

    Raises:
        PermanentError: the settings contradict each other, or there is no such file.
    """
    authenticators(settings)
    if not workspace.exists():
        raise PermanentError(
            f"{workspace.absolute()} is missing: name workspace.yaml by --workspace."
        )
    logging.basicConfig(format=_LOG_FORMAT)
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            _STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_SECONDS, _POOL_MAX_OVERFLOW
        )
        target = WorkspaceFileTarget([str(workspace)])
        with (
            WorkspaceProcessContext(instance, target, version=__version__) as context,
            running_starter(settings, context),
        ):
            uvicorn.run(
                OperatorsWebserver(context, settings).create_asgi_app(),
                host=settings.dagster.webserver_host,
                port=settings.dagster.webserver_port,
                log_level="warning",
                # Whom a proxy speaks for is in the setting alone, not in X-Forwarded-For.
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )

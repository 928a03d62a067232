"""Serve the API: one uvicorn process, until SIGTERM or Ctrl-C."""

import logging

import uvicorn

from influencerai_dagster.api.app import create_app
from influencerai_dagster.api.context import ApiContext
from influencerai_dagster.settings import Settings

_MAX_CONNECTIONS = 500
"""More get 503: each may hold a body of 2 MiB before anybody knows who sent it."""
_STOP_SECONDS = 10
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def serve(settings: Settings) -> None:
    """Serve the API at API_HOST and PORT.

    Args:
        settings: of the API, the catalog, S3 and Dagster.

    Raises:
        PermanentError: JWT_SECRET is not set.
    """
    context = ApiContext.of(settings)
    logging.basicConfig(format=_LOG_FORMAT)
    api = settings.api
    uvicorn.run(
        create_app(context),
        host=api.host,
        port=api.port,
        log_level="warning",
        server_header=False,
        proxy_headers=bool(api.proxies),
        forwarded_allow_ips=[str(network) for network in api.proxies],
        timeout_graceful_shutdown=_STOP_SECONDS,
        limit_concurrency=_MAX_CONNECTIONS,
    )

"""Connect commands to the Dagster web server."""

from influencerai_dagster.cli.common import server_settings
from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.settings import Settings


def dagster() -> DagsterGraphQL:
    """Return a client of the Dagster web server."""
    own = server_settings()
    return dagster_at(own.dagster.url, own)


def dagster_at(url: str, settings: Settings) -> DagsterGraphQL:
    """Return a client of the web server at a URL, with the user and password of the settings."""
    return DagsterGraphQL(url, CODE_LOCATION, credentials=settings.dagster.credentials)

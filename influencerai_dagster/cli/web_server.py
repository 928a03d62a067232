"""Connect commands to the Dagster web server."""

from influencerai_dagster.cli.common import server_settings
from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.dagster_client.client import DagsterGraphQL


def dagster() -> DagsterGraphQL:
    """Return a client of the Dagster web server."""
    own = server_settings()
    return DagsterGraphQL(own.dagster.url, CODE_LOCATION, credentials=own.dagster.credentials)

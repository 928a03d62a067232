"""The Dagster web server that commands ask."""

from influencerai_dagster.api.dagster_graphql import CODE_LOCATION, DagsterGraphQL
from influencerai_dagster.cli.common import server_settings


def dagster() -> DagsterGraphQL:
    """Return a client of the Dagster web server."""
    own = server_settings()
    return DagsterGraphQL(own.dagster_url, CODE_LOCATION, credentials=own.dagster_credentials)

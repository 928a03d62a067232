"""Two tenants in a catalog of their own."""

from influencerai_dagster_tests.testing.render_servers import catalog, engine

__all__ = ["catalog", "engine"]

"""PostgreSQL for ops: one engine per process."""

from functools import cached_property

import dagster as dg
from sqlalchemy import Engine

from influencerai_dagster.catalog.engine import create_catalog_engine


class CatalogResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """The catalog database.

    Attributes:
        database_url: `postgresql://…`, DATABASE_URL.
    """

    database_url: str

    @cached_property
    def engine(self) -> Engine:
        """The SQLAlchemy engine."""
        return create_catalog_engine(self.database_url)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's signature
        """Close the connections: every tick of a sensor makes a resource of its own."""
        if "engine" in self.__dict__:
            self.engine.dispose()

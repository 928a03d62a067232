"""Give ops PostgreSQL: one engine per process."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import dagster as dg
from sqlalchemy import Engine

from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.orchestration.run_config import fixed_resource


class Catalog:
    """The catalog database."""

    def __init__(self, database_url: str) -> None:
        """Make it; nothing is sent yet.

        Args:
            database_url: `postgresql://…`, DATABASE_URL.
        """
        self.database_url = database_url

    @cached_property
    def engine(self) -> Engine:
        """The SQLAlchemy engine."""
        return create_catalog_engine(self.database_url)

    @contextmanager
    def opened(self) -> Iterator["Catalog"]:
        """Close the connections at the end of the block."""
        try:
            yield self
        finally:
            if "engine" in self.__dict__:
                self.engine.dispose()


def catalog_resource(database_url: str) -> dg.ResourceDefinition:
    """Return the resource `catalog`: made again for every run and tick."""
    return fixed_resource("The catalog database.", lambda _: Catalog(database_url).opened())


CatalogResource = dg.ResourceParam[Catalog]

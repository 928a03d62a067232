"""Give ops PostgreSQL: one engine per process, and the heartbeat of the run."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property

import dagster as dg
from sqlalchemy import Engine

from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.db.run_heartbeats import Activity
from influencerai_dagster.orchestration.resources.run_heartbeat import RunHeartbeat
from influencerai_dagster.orchestration.run_config import fixed_resource


class Catalog:
    """The catalog database; where it is used in a run, the run has a heartbeat."""

    def __init__(self, database_url: str, run: dg.DagsterRun | None = None) -> None:
        """Make it; nothing is sent yet.

        Args:
            database_url: `postgresql://…`, DATABASE_URL.
            run: whose heartbeat it has; a tick of a sensor has none.
        """
        self.database_url = database_url
        self._heartbeat = None if run is None else RunHeartbeat(database_url, run)

    @cached_property
    def engine(self) -> Engine:
        """The SQLAlchemy engine."""
        return create_catalog_engine(self.database_url)

    def doing(self, activity: Activity) -> AbstractContextManager[None]:
        """Write in the run's heartbeat what it does for the duration of the block."""
        return nullcontext() if self._heartbeat is None else self._heartbeat.doing(activity)

    @contextmanager
    def opened(self) -> Iterator["Catalog"]:
        """Keep the heartbeat for the time of the block, then close the connections."""
        if self._heartbeat is not None:
            self._heartbeat.start()
        try:
            yield self
        finally:
            if self._heartbeat is not None:
                self._heartbeat.stop()
            if "engine" in self.__dict__:
                self.engine.dispose()


def catalog_resource(database_url: str) -> dg.ResourceDefinition:
    """Return the resource `catalog`: made again for every run and tick."""
    return fixed_resource(
        "The catalog database; where it is used in a run, the run has a heartbeat.",
        lambda context: Catalog(database_url, context.run).opened(),
    )


CatalogResource = dg.ResourceParam[Catalog]

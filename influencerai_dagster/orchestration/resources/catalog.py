"""PostgreSQL for ops: one engine per process, and the heartbeat of the run."""

from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import dagster as dg
from pydantic import PrivateAttr
from sqlalchemy import Engine

from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.db.run_heartbeats import Activity
from influencerai_dagster.orchestration.resources.run_heartbeat import RunHeartbeat


class CatalogResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """The catalog database; where it is used in a run, the run has a heartbeat.

    Attributes:
        database_url: `postgresql://…`, DATABASE_URL.
    """

    database_url: str
    _heartbeat: RunHeartbeat | None = PrivateAttr(default=None)

    @cached_property
    def engine(self) -> Engine:
        """The SQLAlchemy engine."""
        return create_catalog_engine(self.database_url)

    def doing(self, activity: Activity) -> AbstractContextManager[None]:
        """Write in the run's heartbeat what it does for the duration of the block."""
        return nullcontext() if self._heartbeat is None else self._heartbeat.doing(activity)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Start the heartbeat of the run; a tick of a sensor has none."""
        if context.run is not None:
            self._heartbeat = RunHeartbeat(self.database_url, context.run)
            self._heartbeat.start()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's signature
        """Close the connections: every tick of a sensor makes a resource of its own."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if "engine" in self.__dict__:
            self.engine.dispose()

"""How long things are kept, for the retention assets."""

from datetime import timedelta
from functools import cached_property

import dagster as dg
from sqlalchemy import Engine

from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.retention.deletion import RetentionRules


class RetentionResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """RETENTION_DAYS, RETENTION_DRY_RUN and BACKUP_RECOVERY_WINDOW_DAYS.

    Attributes:
        dagster_database_url: DAGSTER_DATABASE_URL.
    """

    days: int
    is_dry_run: bool
    recovery_window_days: int
    dagster_database_url: str

    def rules(self) -> RetentionRules:
        """Return the rules as the stage takes them."""
        return RetentionRules(self.days, timedelta(days=self.recovery_window_days))

    @cached_property
    def dagster_engine(self) -> Engine:
        """The SQLAlchemy engine of Dagster's own storage."""
        return create_catalog_engine(self.dagster_database_url)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's signature
        """Close the connections."""
        if "dagster_engine" in self.__dict__:
            self.dagster_engine.dispose()

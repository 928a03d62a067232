"""Give the retention assets the rules of how long media are kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import dagster as dg
from sqlalchemy import Engine

from influencerai_dagster.retention.deletion import RetentionRules
from influencerai_dagster.settings import Settings
from influencerai_dagster.wiring import retention, stores


class Retention:
    """The rules of retention, and Dagster's own storage, whose old events are deleted too."""

    def __init__(self, settings: Settings) -> None:
        """Make it; nothing is sent yet."""
        self.settings = settings

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing is deleted."""
        return self.settings.retention.is_dry_run

    def rules(self) -> RetentionRules:
        """Return the rules."""
        return retention.retention_rules(self.settings)

    @cached_property
    def dagster_engine(self) -> Engine:
        """The SQLAlchemy engine of Dagster's own storage."""
        return stores.dagster_engine(self.settings)

    @contextmanager
    def opened(self) -> Iterator["Retention"]:
        """Close the connections at the end of the block."""
        try:
            yield self
        finally:
            if "dagster_engine" in self.__dict__:
                self.dagster_engine.dispose()


RetentionResource = dg.ResourceParam[Retention]

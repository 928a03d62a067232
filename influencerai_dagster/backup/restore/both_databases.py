"""Name the two databases that are restored together, by their URLs: the catalog and Dagster's."""

from collections.abc import Callable
from dataclasses import dataclass, field

from influencerai_dagster.core.database_urls import database_name


@dataclass(frozen=True)
class BothDatabases:
    """The URLs of both; of a restore only their names and users count."""

    catalog_url: str = field(repr=False)
    dagster_url: str = field(repr=False)

    @property
    def urls(self) -> tuple[str, str]:
        """Both URLs."""
        return self.catalog_url, self.dagster_url

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the databases."""
        return tuple(database_name(url) for url in self.urls)

    def at(self, moved: Callable[[str], str]) -> "BothDatabases":
        """Return them on another server: `moved` gets a URL and returns the one there."""
        return BothDatabases(*map(moved, self.urls))

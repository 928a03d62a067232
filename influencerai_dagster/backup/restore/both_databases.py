"""The two databases that are restored together, by their URLs: the catalog and Dagster's."""

from collections.abc import Callable
from dataclasses import dataclass, field

from influencerai_dagster.core.database_urls import database_name


@dataclass(frozen=True)
class BothDatabases:
    """Where they are, or are to be: only names and users of these URLs may count."""

    catalog_url: str = field(repr=False)
    dagster_url: str = field(repr=False)

    @property
    def urls(self) -> tuple[str, str]:
        """Both."""
        return self.catalog_url, self.dagster_url

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the databases."""
        return tuple(database_name(url) for url in self.urls)

    def at(self, place: Callable[[str], str]) -> "BothDatabases":
        """Return them on another server: `place` is given a URL, and returns it there."""
        return BothDatabases(*map(place, self.urls))

"""One migrated catalog for all of these tests; every test starts with two tenants and no job."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from sqlalchemy import Engine, make_url

from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.db.migrate import ensure_database, upgrade
from influencerai_dagster_tests.testing.catalog_rows import add_two_tenants, empty_catalog

MakeDatabase = Callable[[], str]


@pytest.fixture(scope="session")
def make_database(postgres_url: str) -> MakeDatabase:
    """Return the URL of a new, empty database at every call."""

    def make() -> str:
        url = make_url(postgres_url).set(database=f"catalog-{uuid4().hex}")
        text_url = url.render_as_string(hide_password=False)
        assert ensure_database(text_url)
        return text_url

    return make


@pytest.fixture(scope="session")
def catalog_url(make_database: MakeDatabase) -> str:
    url = make_database()
    upgrade(url)
    return url


@pytest.fixture(scope="session")
def catalog_engine(catalog_url: str) -> Iterator[Engine]:
    engine = create_catalog_engine(catalog_url)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(catalog_engine: Engine) -> Iterator[Engine]:
    """The catalog with two tenants that both have an influencer `bella`."""
    add_two_tenants(catalog_engine)
    yield catalog_engine
    empty_catalog(catalog_engine)

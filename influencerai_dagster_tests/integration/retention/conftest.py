"""A migrated catalog with two tenants and no job."""

from influencerai_dagster_tests.testing.catalog import (
    catalog_engine,
    catalog_url,
    engine,
    make_database,
)

__all__ = ["catalog_engine", "catalog_url", "engine", "make_database"]

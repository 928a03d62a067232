"""The API on a catalog with two tenants."""

from influencerai_dagster_tests.testing.api_site import site

__all__ = ["site"]

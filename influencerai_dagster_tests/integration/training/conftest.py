"""A migrated catalog with two tenants, and one simulated ComfyUI for the folder's tests."""

from influencerai_dagster_tests.testing.catalog import (
    catalog_engine,
    catalog_url,
    engine,
    make_database,
)
from influencerai_dagster_tests.testing.render_servers import comfyui, comfyui_simulator

__all__ = [
    "catalog_engine",
    "catalog_url",
    "comfyui",
    "comfyui_simulator",
    "engine",
    "make_database",
]

"""Two tenants in a catalog of their own, and one simulated ComfyUI for the folder's tests."""

from influencerai_dagster_tests.testing.render_servers import (
    catalog,
    comfyui,
    comfyui_simulator,
    engine,
)

__all__ = ["catalog", "comfyui", "comfyui_simulator", "engine"]

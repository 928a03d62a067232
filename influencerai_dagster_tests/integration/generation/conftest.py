"""Two tenants in a catalog of their own, and one simulated ComfyUI for the folder's tests."""

from influencerai_dagster_tests.testing.render_servers import (
    bare,
    catalog,
    comfyui,
    comfyui_simulator,
    engine,
    render_session,
    renderer,
    second_comfyui,
)

__all__ = [
    "bare",
    "catalog",
    "comfyui",
    "comfyui_simulator",
    "engine",
    "render_session",
    "renderer",
    "second_comfyui",
]

"""The local stack with a real Dagster, in a folder of the benchmark and on free ports."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

from benchmarks.servers import ComfyUIServer
from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.local.services import DEFINITIONS_MODULE, Stack
from influencerai_dagster.settings import load_settings
from influencerai_dagster_tests.testing.ports import free_port

_PORTS = (
    *("dagster_webserver_port", "local_postgres_port", "local_s3_port"),
    *("local_openrouter_port", "local_code_server_port", "port", "local_comfyui_port"),
)


def dagster_stack(
    folder: Path,
    *,
    comfyui: ComfyUIServer | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
    definitions_module: str = DEFINITIONS_MODULE,
) -> Stack:
    """Return a stack; run it with `run_stack`.

    Args:
        folder: has its data.
        comfyui: a running server; None lets the stack run one.
        variables: settings of the code location, by name.
        definitions_module: what the code server loads.
    """
    ports: dict[str, object] = {name: free_port() for name in _PORTS}
    if comfyui is not None:
        ports["comfyui_url"] = comfyui.url
    settings = load_settings((), data_dir=folder / "data", **ports)
    stack = Stack(
        settings, location_problem=_location_problem, definitions_module=definitions_module
    )
    if comfyui is not None:
        stack.environment["COMFYUI_URL"] = comfyui.url
    stack.environment.update(variables)
    return stack


def _location_problem(url: str) -> str | None:
    with closing(DagsterGraphQL(url, CODE_LOCATION)) as dagster:
        return dagster.location_problem()

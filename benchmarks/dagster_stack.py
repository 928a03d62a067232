"""The local stack with a real Dagster, in a folder of the benchmark and on free ports."""

from contextlib import closing
from pathlib import Path

from benchmarks.servers import ComfyUIServer
from influencerai_dagster.core.dagster_names import CODE_LOCATION
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.local.services import DEFINITIONS_MODULE, Stack
from influencerai_dagster.settings import load_settings
from influencerai_dagster_tests.testing.ports import free_port

_PORTS = (
    *("dagster_webserver_port", "local_postgres_port", "local_s3_port"),
    *("local_openrouter_port", "local_code_server_port", "port"),
)


def dagster_stack(
    folder: Path,
    comfyui: ComfyUIServer,
    *,
    variables: dict[str, str],
    definitions_module: str = DEFINITIONS_MODULE,
) -> Stack:
    """Return a stack on a running ComfyUI server; run it with `run_stack`.

    Args:
        folder: has its data.
        comfyui: renders.
        variables: settings of the code location, by name.
        definitions_module: what the code server loads.
    """
    ports = {name: free_port() for name in _PORTS}
    settings = load_settings((), data_dir=folder / "data", comfyui_url=comfyui.url, **ports)
    stack = Stack(
        settings, location_problem=_location_problem, definitions_module=definitions_module
    )
    stack.environment["COMFYUI_URL"] = comfyui.url
    stack.environment.update(variables)
    return stack


def _location_problem(url: str) -> str | None:
    with closing(DagsterGraphQL(url, CODE_LOCATION)) as dagster:
        return dagster.location_problem()

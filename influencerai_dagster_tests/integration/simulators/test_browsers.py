"""No web page reaches a simulator through the operator's browser."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.openrouter_server import openrouter_url


@pytest.fixture(scope="module", params=["comfyui", "openrouter"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of something that each of them tells programs."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "openrouter":
        with openrouter_url(folder) as url:
            yield f"{url}/simulator/calls"
        return
    comfyui = ComfyUISimulator(folder, {})
    yield f"{comfyui.url}/system_stats"
    comfyui.stop()


def status(url: str, headers: dict[str, str]) -> int:
    return httpx.get(url, headers=headers, trust_env=False).status_code


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "http://evil.example"}, id="origin"),
        pytest.param({"Origin": "http://127.0.0.1:8000"}, id="other port"),
        pytest.param({"Origin": "null"}, id="sandboxed frame"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="image"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="image of this machine"),
        pytest.param({"Host": "evil.example"}, id="rebound name"),
        pytest.param({"Host": "evil.example", "Origin": "http://evil.example"}, id="rebound page"),
        pytest.param({"Host": "["}, id="no name"),
    ],
)
def test_pages_are_refused(url: str, headers: dict[str, str]) -> None:
    assert status(url, headers) in {400, 403}


@pytest.mark.parametrize("headers", [{}, {"Host": "localhost"}, {"Host": "[::1]:8188"}])
def test_programs_are_answered(url: str, headers: dict[str, str]) -> None:
    assert status(url, headers) == 200

"""Servers that the ComfyUI tests run on."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator, comfyui_simulator


@pytest.fixture
def unused_tcp_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="package")
def shared_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUISimulator]:
    root: Path = tmp_path_factory.mktemp("comfyui")
    with comfyui_simulator(root, seconds_per_step=0.005) as server:
        yield server


@pytest.fixture
def simulator(shared_simulator: ComfyUISimulator) -> Iterator[ComfyUISimulator]:
    """The one simulator, without the faults that a test provoked."""
    yield shared_simulator
    if shared_simulator.process.poll() is not None:
        shared_simulator.start()
    elif not shared_simulator.stats()["is_worker_alive"]:
        shared_simulator.restart()
    shared_simulator.faults(reset=True)


@pytest.fixture
def client(simulator: ComfyUISimulator) -> Iterator[ComfyUIClient]:
    with ComfyUIClient(simulator.url) as client:
        yield client


def _servers() -> list[str]:
    return ["simulator", *(["real"] if os.environ.get("COMFYUI_URL") else [])]


@pytest.fixture(params=_servers())
def any_client(request: pytest.FixtureRequest) -> Iterator[ComfyUIClient]:
    """A client of the simulator, and of the real ComfyUI at COMFYUI_URL if it is set."""
    if request.param == "real":
        url = os.environ["COMFYUI_URL"].split(",")[0]
    else:
        server: ComfyUISimulator = request.getfixturevalue("simulator")
        url = server.url
    with ComfyUIClient(url) as client:
        yield client

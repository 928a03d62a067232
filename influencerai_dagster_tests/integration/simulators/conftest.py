"""One simulated ComfyUI for the folder's tests, with the files that the recorded server had."""

import shutil
from collections.abc import Iterator

import pytest

from influencerai_dagster_tests.testing.comfyui_replay import make_idle, start_as_recorded
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUISimulator]:
    started = start_as_recorded(tmp_path_factory.mktemp("comfyui"))
    yield started
    started.kill()


@pytest.fixture
def comfyui(server: ComfyUISimulator) -> ComfyUISimulator:
    """The server at the start of each test: idle, without faults, cached results and outputs."""
    if server.process.poll() is not None:
        server.start()
    if not server.stats()["is_worker_alive"]:
        server.restart()
    server.faults(reset=True)
    make_idle(server)
    server.http.post("/free", json={"free_memory": True})
    for entry in server.output_dir.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return server

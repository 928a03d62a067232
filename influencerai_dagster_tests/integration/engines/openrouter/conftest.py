"""A simulated OpenRouter as a real process on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from influencerai_dagster.engines.openrouter.client import OpenRouterClient
from influencerai_dagster_tests.testing.openrouter_server import Simulator, openrouter_url


@pytest.fixture(scope="package")
def simulator_url(servers_dir: Path) -> Iterator[str]:
    with openrouter_url(servers_dir / "openrouter") as url:
        yield url


@pytest.fixture
def simulator(simulator_url: str) -> Simulator:
    simulator = Simulator(simulator_url)
    simulator.set_faults()
    return simulator


@pytest.fixture
def client(simulator: Simulator) -> OpenRouterClient:
    return simulator.client()

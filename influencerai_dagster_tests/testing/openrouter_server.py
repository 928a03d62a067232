"""A simulated OpenRouter as a real process on loopback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from influencerai_dagster.engines.openrouter.client import OpenRouterClient
from influencerai_dagster.local.supervisor import Service
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.servers import running

MODEL = "google/gemini-2.5-flash"


@dataclass
class Simulator:
    url: str
    waits: list[float] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"{self.url}/api/v1"

    def set_faults(self, **faults: Any) -> None:
        httpx.post(f"{self.url}/simulator/faults", json=faults).raise_for_status()

    def calls(self) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = httpx.get(f"{self.url}/simulator/calls").json()
        return calls

    def client(self, *, api_key: str = "sk-test", timeout_seconds: float = 20) -> OpenRouterClient:
        """A client whose waits are written down instead of waited."""
        return OpenRouterClient(
            api_key=api_key,
            base_url=self.base_url,
            timeout_seconds=timeout_seconds,
            sleep=self.waits.append,
        )


@contextmanager
def openrouter_url(folder: Path) -> Iterator[str]:
    """Run the simulator for the time of the block."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        try:
            return httpx.get(f"{url}/api/v1/models", timeout=1).is_success
        except httpx.TransportError:
            return False

    service = Service(
        name="openrouter",
        command=[
            *(sys.executable, "-m", "influencerai_dagster.simulators.openrouter"),
            *("--port", str(port), "--delay-seconds", "0"),
        ],
        environment=os.environ,
        is_ready=is_ready,
    )
    with running(service, folder):
        yield url

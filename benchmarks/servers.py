"""The servers that benchmarks run on: those of the local stack, in a folder that is removed."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx

from influencerai_dagster.db import migrate
from influencerai_dagster.local.object_store import ObjectStoreServer
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.local.supervisor import Service, Supervisor
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.ports import free_port

BUCKET = "assets"
REGION = "us-east-1"
BASE_MODEL = "v1-5-pruned-emaonly.safetensors"


@dataclass(frozen=True)
class S3Server:
    """A running S3 server with the one bucket `assets`.

    Attributes:
        bucket_dir: a file that is written there is an object.
    """

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket_dir: Path

    def store(self) -> ObjectStore:
        """Return a store with a client of its own."""
        client = make_s3_client(
            endpoint_url=self.endpoint_url,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=REGION,
            path_style=True,
            checksum_mode="when_required",
        )
        return ObjectStore(client, BUCKET)


@dataclass(frozen=True)
class ComfyUIServer:
    """A simulated ComfyUI server."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def journal(self) -> Path:
        """Where it writes down what came when, if it does."""
        return self.folder / "journal"

    def times(self, event: str) -> dict[str, float]:
        """Return when each prompt was posted, executed or finished: seconds since 1970, by id."""
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return {line["prompt_id"]: line["time"] for line in lines if line["event"] == event}


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """Run an S3 server until the end of the block."""
    with temporary_folder() as folder:
        secret_key = uuid4().hex
        server = ObjectStoreServer(
            folder / "buckets", free_port(), "benchmark", secret_key, buckets=[BUCKET]
        )
        with running_services([server.service(os.environ)], folder):
            yield S3Server(server.endpoint_url, "benchmark", secret_key, server.root_dir / BUCKET)


@contextmanager
def running_catalog() -> Iterator[str]:
    """Run PostgreSQL until the end of the block; yield the URL of an empty catalog."""
    with temporary_folder() as folder:
        server = PostgresServer(folder / "data", free_port(), uuid4().hex, is_durable=False)
        with running_services([server.service(os.environ)], folder):
            url = server.url("influencerai")
            migrate.ensure_database(url)
            migrate.upgrade(url)
            yield url


@contextmanager
def running_comfyui(
    num_servers: int, *, seconds_per_step: float, has_journal: bool = False
) -> Iterator[Sequence[ComfyUIServer]]:
    """Run simulated ComfyUI servers, a process each, until the end of the block.

    Args:
        num_servers: how many.
        seconds_per_step: how long a sampler step takes, besides the drawing of the image.
        has_journal: whether they write down when each prompt came.
    """
    with temporary_folder() as folder:
        servers = [
            ComfyUIServer(free_port(), folder / f"comfyui-{number}")
            for number in range(num_servers)
        ]
        services = [_comfyui(server, seconds_per_step, has_journal) for server in servers]
        with running_services(services, folder):
            yield servers


def _comfyui(server: ComfyUIServer, seconds_per_step: float, has_journal: bool) -> Service:  # noqa: FBT001
    port, folder = server.port, server.folder
    folder.mkdir()
    options: dict[str, object] = {
        "--port": port,
        "--models-dir": folder / "models",
        "--input-dir": folder / "input",
        "--output-dir": folder / "output",
        "--placeholder": f"checkpoints/{BASE_MODEL}=stable-diffusion-v1",
        "--seconds-per-step": seconds_per_step,
    }
    if has_journal:
        options["--journal"] = server.journal
    return Service(
        name=folder.name,
        command=[
            *(sys.executable, "-m", "influencerai_dagster.simulators.comfyui"),
            *(f"{name}={value}" for name, value in options.items()),
        ],
        environment=os.environ,
        is_ready=lambda: _answers(f"{server.url}/system_stats"),
        port=port,
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for the time of the block."""
    folder = Path(tempfile.mkdtemp(prefix="influencerai-benchmarks-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_services(services: Sequence[Service], folder: Path) -> Iterator[None]:
    """Run services until the end of the block; their logs are in the folder."""
    with Supervisor(services, data_dir=folder, announce=print) as supervisor:
        supervisor.start()
        yield

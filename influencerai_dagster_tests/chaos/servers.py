"""The servers that get killed: PostgreSQL, S3 behind a proxy, three simulated ComfyUI.

They are this run's own, on loopback, in one folder; the supervisor of the local stack is not used,
because it would start again what was killed, in its own time. Breaking them lives in faults.py.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from influencerai_dagster.db import migrate
from influencerai_dagster.local.object_store import ObjectStoreServer
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.local.supervisor import Service
from influencerai_dagster.processes import as_user
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.chaos.proxy import Proxy
from influencerai_dagster_tests.chaos.scenario import NUM_SERVERS
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until

BUCKET = "assets"
ACCESS_KEY = "chaos"
CHECKPOINT = "checkpoints/v1-5-pruned-emaonly.safetensors=stable-diffusion-v1"
_SECONDS_PER_STEP = 0.02


@dataclass
class Killable:
    """A service that is killed and started again on the same data and port."""

    service: Service
    log: Path
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def start(self, seconds: float = 30.0) -> None:
        """Start it, again if children of the killed one were in the way, until it is ready."""
        wait_until(self._is_up, f"{self.service.name} is up ({self.log})", timeout_seconds=seconds)

    def _is_up(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            self.service.prepare()
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.service.command,
                    env=dict(self.service.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    **as_user(self.service.user),
                )
        return self.service.is_ready() and self._process.poll() is None

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.end(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, and do not wait."""
        if self._process is not None:
            self._process.send_signal(number)

    def end(self, number: signal.Signals | None = None) -> None:
        """End it with a signal, by default its own, and wait until it is gone."""
        if self._process is not None:
            self._process.send_signal(number or self.service.stop_signal)
            self._process.wait(timeout=self.service.stop_seconds)


@dataclass(frozen=True)
class ChaosServers:
    """Everything that runs beside the workers.

    Attributes:
        database_url: the catalog, migrated.
        s3_proxy: what workers reach S3 through.
        journals: what happened to prompts, one file for each ComfyUI, over its restarts.
    """

    folder: Path
    database_url: str
    postgres: Killable
    s3: Killable
    s3_proxy: Proxy
    s3_port: int
    secret_key: str
    comfyui: tuple[ComfyUISimulator, ...]
    journals: tuple[Path, ...]

    def store(self) -> ObjectStore:
        """Return the bucket, reached past the proxy."""
        client = make_s3_client(
            endpoint_url=f"http://127.0.0.1:{self.s3_port}",
            access_key=ACCESS_KEY,
            secret_key=self.secret_key,
            region="us-east-1",
            path_style=True,
            checksum_mode="when_required",
        )
        return ObjectStore(client, BUCKET)


@contextmanager
def chaos_servers(folder: Path) -> Iterator[ChaosServers]:
    """Run all servers until the end of the block."""
    with ExitStack() as stack:
        # Durable, as in production: what was committed survives a SIGKILL.
        postgres = PostgresServer(folder / "postgres", free_port(), uuid4().hex)
        database = _running(stack, postgres.service(os.environ), folder)
        database_url = postgres.url("chaos")
        migrate.ensure_database(database_url)
        migrate.upgrade(database_url)
        s3 = ObjectStoreServer(
            folder / "buckets", free_port(), ACCESS_KEY, uuid4().hex, buckets=[BUCKET]
        )
        object_store = _running(stack, s3.service(os.environ), folder)
        proxy = Proxy(s3.port)
        stack.callback(proxy.stop)
        journals = tuple(folder / f"comfyui-{index}.jsonl" for index in range(NUM_SERVERS))
        yield ChaosServers(
            folder=folder,
            database_url=database_url,
            postgres=database,
            s3=object_store,
            s3_proxy=proxy,
            s3_port=s3.port,
            secret_key=s3.secret_key,
            comfyui=tuple(_comfyui(stack, folder, journal) for journal in journals),
            journals=journals,
        )


def _running(stack: ExitStack, service: Service, folder: Path) -> Killable:
    killable = Killable(service, folder / f"{service.name}.log")
    stack.callback(killable.end)
    killable.start()
    return killable


def _comfyui(stack: ExitStack, folder: Path, journal: Path) -> ComfyUISimulator:
    options = {"seconds_per_step": _SECONDS_PER_STEP, "journal": journal}
    server = ComfyUISimulator(folder / journal.stem, options, (CHECKPOINT,))
    stack.callback(server.kill)
    return server

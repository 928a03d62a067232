"""One job, one worker process for it, and proxies that stop the worker where a test likes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster_tests.chaos.proxy import Proxy
from influencerai_dagster_tests.chaos.servers import CHECKPOINT
from influencerai_dagster_tests.chaos.workbench import DAY, TENANT, Workbench
from influencerai_dagster_tests.chaos.worker import Assignment
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator, comfyui_simulator
from influencerai_dagster_tests.testing.servers import S3Server


@pytest.fixture(scope="module")
def comfyui_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUISimulator]:
    root = tmp_path_factory.mktemp("comfyui")
    with comfyui_simulator(root, placeholders=(CHECKPOINT,), seconds_per_step=0.001) as server:
        yield server


@pytest.fixture
def workbench(
    database_url: str, s3_server: S3Server, comfyui_server: ComfyUISimulator, tmp_path: Path
) -> Iterator[Workbench]:
    comfyui_server.faults(reset=True)
    engine = create_catalog_engine(database_url)
    with transaction(engine) as session:
        add_tenant(session, TENANT)
    store = s3_server.store()
    proxies = Proxy(comfyui_server.port), Proxy(int(s3_server.endpoint_url.rsplit(":", 1)[1]))
    assignment = Assignment(
        owner="",
        partition_key=f"{TENANT}/{DAY.isoformat()}",
        database_url=database_url,
        s3_endpoint=proxies[1].url,
        s3_access_key=s3_server.access_key,
        s3_secret_key=s3_server.secret_key,
        s3_bucket=store.bucket,
        comfyui_urls=(proxies[0].url,),
        lease_seconds=60.0,
        idle_timeout_seconds=60.0,
    )
    made = Workbench(engine, store, comfyui_server, *proxies, assignment, tmp_path)
    yield made
    for worker in made.workers:
        worker.kill()
        worker.join()
    for proxy in proxies:
        proxy.stop()
    engine.dispose()

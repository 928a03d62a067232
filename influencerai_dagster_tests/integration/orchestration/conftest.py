"""The code location on the test run's own servers, with a tenant and a few photos."""

import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from influencerai_dagster.core.lora_training import PRESETS, BaseModelFamily
from influencerai_dagster.db import migrate
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.definitions import build_definitions, build_resources
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.orchestration.resources.catalog import Catalog
from influencerai_dagster.orchestration.resources.retention import Retention
from influencerai_dagster.settings import load_settings, settings_from
from influencerai_dagster.simulators.base_models import write_simulated_base_model
from influencerai_dagster_tests.testing.catalog_rows import (
    add_bella,
    add_two_tenants,
    empty_catalog,
)
from influencerai_dagster_tests.testing.code_location import BASE_MODELS, CodeLocation
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.paths import SIMULATED_KOHYA_DIR
from influencerai_dagster_tests.testing.servers import S3Server


@pytest.fixture(scope="session")
def catalog_url(postgres_server: PostgresServer) -> str:
    """One database for many tests: emptying its tables is quicker than a new one."""
    url = postgres_server.url("orchestration")
    migrate.ensure_database(url)
    migrate.upgrade(url)
    return url


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    """A catalog with the tenants `demo` and `other`, who both have an influencer `bella`."""
    resource = Catalog(catalog_url)
    add_two_tenants(resource.engine)
    yield resource
    empty_catalog(resource.engine)
    resource.engine.dispose()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An empty Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="session")
def dagster_storage_url(postgres_server: PostgresServer) -> str:
    """A database for Dagster's own storage."""
    url = postgres_server.url("dagster_storage")
    migrate.ensure_database(url)
    return url


@pytest.fixture(scope="session")
def postgres_storage(dagster_storage_url: str) -> Iterator[dg.DagsterInstance]:
    storage = {"postgres": {"postgres_url": dagster_storage_url}}
    with dg.instance_for_test(overrides={"storage": storage}) as instance:
        yield instance


@pytest.fixture
def postgres_instance(postgres_storage: dg.DagsterInstance) -> dg.DagsterInstance:
    """An empty Dagster instance on PostgreSQL; emptying one is quicker than a new one."""
    postgres_storage.wipe()
    return postgres_storage


@pytest.fixture
def retention(dagster_storage_url: str) -> Retention:
    """Rules of 90 days and a window of 30, as a dry run."""
    return Retention(settings_from({"DAGSTER_DATABASE_URL": dagster_storage_url}))


@pytest.fixture
def code_location(
    database_url: str,
    s3_server: S3Server,
    comfyui: ComfyUISimulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[CodeLocation]:
    """A code location with tenant `demo` and its influencer `bella`, and an empty bucket."""
    models_dir = tmp_path / "models"
    preset = PRESETS["sd15-face"]
    write_simulated_base_model(models_dir / "checkpoints" / preset.base_model, BaseModelFamily.SD15)
    store = s3_server.store()
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("S3_KEY", s3_server.access_key)
    monkeypatch.setenv("S3_SECRET", s3_server.secret_key)
    monkeypatch.setenv("SIMULATOR_KOHYA_SECONDS_PER_STEP", "0.001")
    settings = load_settings(
        s3_endpoint=s3_server.endpoint_url,
        s3_bucket=store.bucket,
        comfyui_url=(comfyui.url,),
        comfyui_lora_dir=comfyui.models_dir / "loras",
        kohya_dir=SIMULATED_KOHYA_DIR,
        kohya_python=Path(sys.executable),
        kohya_models_dir=models_dir,
        kohya_extra_variables=("SIMULATOR_*",),
        training_dir=tmp_path / "training",
        min_image_side_px=256,
        generation_idle_timeout_seconds=0,
        generation_time_slice_seconds=30,
        max_pending_jobs_per_tenant=20,
    )
    engine = create_catalog_engine(database_url)
    with transaction(engine) as session:
        add_tenant(session, "demo")
        add_bella(session)
    with dg.DagsterInstance.ephemeral() as instance:
        yield CodeLocation(
            definitions=build_definitions(settings, build_resources(settings)),
            instance=instance,
            engine=engine,
            store=store,
            settings=settings,
            environment=monkeypatch,
        )
    engine.dispose()


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUISimulator]:
    """One simulated ComfyUI for the folder's tests."""
    simulator = ComfyUISimulator(
        tmp_path_factory.mktemp("comfyui"), {"seconds_per_step": 0.001}, BASE_MODELS
    )
    yield simulator
    simulator.stop()

"""The code location on the test run's own servers, with a tenant and a few photos."""

import io
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from PIL import Image, ImageDraw
from sqlalchemy import Engine

from influencerai_dagster.core.lora_training import PRESETS, BaseModelFamily
from influencerai_dagster.db import migrate
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant, put_influencer
from influencerai_dagster.definitions import build_definitions, build_resources
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.object_store import (
    ObjectStoreResource,
    PathStyleS3Resource,
)
from influencerai_dagster.orchestration.resources.retention import RetentionResource
from influencerai_dagster.settings import Settings, load_settings
from influencerai_dagster.simulators.base_models import write_simulated_base_model
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import empty_catalog
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.paths import SIMULATED_KOHYA_DIR
from influencerai_dagster_tests.testing.servers import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_TRAIN_STEPS = 20


def photo(seed: int, size: tuple[int, int] = (320, 400)) -> bytes:
    """A JPEG of coloured shapes; another seed is another image, also to a perceptual hash."""
    shapes = random.Random(seed)  # noqa: S311 - an image, not a secret
    image = Image.new("RGB", size, tuple(shapes.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = shapes.randrange(size[0]), shapes.randrange(size[1])
        colour = tuple(shapes.randrange(256) for _ in range(3))
        draw.ellipse((left - 60, top - 60, left + 60, top + 60), fill=colour)
    data = io.BytesIO()
    image.save(data, "JPEG")
    return data.getvalue()


@dataclass
class CodeLocation:
    """A code location with everything behind it."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    engine: Engine
    store: ObjectStore
    settings: Settings
    environment: pytest.MonkeyPatch

    def upload(self, tenant: str, dataset: str, name: str, data: bytes) -> str:
        """Put an upload; return its object key."""
        key = f"datasets/{tenant}/{dataset}/images/{name}"
        self.store.put_latest(key, data)
        return key

    def run(
        self,
        job: str,
        partition_key: str,
        run_config: Mapping[str, object] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run a job for a partition, adding the partition first as the sensors do."""
        is_dataset = job in {"build_dataset_job", "train_lora_job"}
        self.instance.add_dynamic_partitions(
            "datasets" if is_dataset else "content_days", [partition_key]
        )
        return self.definitions.resolve_job_def(job).execute_in_process(
            run_config=dict(run_config or {}),
            partition_key=partition_key,
            instance=self.instance,
            raise_on_error=False,
        )


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    """Why the first failed step of a run failed."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            described = data.user_failure_data.description if data.user_failure_data else None
            return described or (data.error.message if data.error else "")
    return ""


class CachedClientS3(PathStyleS3Resource):
    """S3 whose client is made once for all tests: that takes 0.2 s."""

    def get_client(self) -> "S3Client":
        key, secret = str(self.aws_access_key_id), str(self.aws_secret_access_key)
        return S3Server("s3", str(self.endpoint_url), key, secret, Path()).client()


@pytest.fixture
def object_store_resource(s3_server: S3Server, object_store: ObjectStore) -> ObjectStoreResource:
    """An empty bucket."""
    s3 = CachedClientS3(
        endpoint_url=s3_server.endpoint_url,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
    )
    return ObjectStoreResource(s3=s3, bucket=object_store.bucket)


@pytest.fixture(scope="session")
def catalog_url(postgres_server: PostgresServer) -> str:
    """One database for many tests: emptying its tables is quicker than a new one."""
    url = postgres_server.url("orchestration")
    migrate.ensure_database(url)
    migrate.upgrade(url)
    return url


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[CatalogResource]:
    """A catalog with the tenants `demo` and `other`, who both have an influencer `bella`."""
    resource = CatalogResource(database_url=catalog_url)
    with transaction(resource.engine) as session:
        for tenant in ("demo", "other"):
            add_tenant(session, tenant)
            put_influencer(
                session,
                tenant,
                "bella",
                dataset="bella",
                trigger_phrase="bella",
                class_caption="woman",
            )
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
def retention(dagster_storage_url: str) -> RetentionResource:
    """Rules of 90 days and a window of 30, as a dry run."""
    return RetentionResource(
        days=90, is_dry_run=True, recovery_window_days=30, dagster_database_url=dagster_storage_url
    )


@pytest.fixture
def code_location(
    database_url: str,
    s3_server: S3Server,
    comfyui: ComfyUISimulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[CodeLocation]:
    """A studio with tenant `demo` and its influencer `bella`, and an empty bucket."""
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
        put_influencer(
            session,
            "demo",
            "bella",
            dataset="bella",
            trigger_phrase="bella",
            class_caption="woman",
        )
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


BASE_MODELS = (
    "checkpoints/v1-5-pruned-emaonly.safetensors=stable-diffusion-v1",
    "checkpoints/sd_xl_base_1.0.safetensors=stable-diffusion-xl-v1-base",
    "checkpoints/svd_xt.safetensors=stable-video-diffusion-img2vid-xt",
)

"""One tick of `dataset_upload_sensor` against one bare boto3 listing of the same prefix.

Resources are made for every tick, as Dagster's code server does.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.comparisons import Comparison, alternate
from benchmarks.servers import BUCKET, REGION, S3Server, running_catalog, running_s3
from influencerai_dagster.core.dagster_names import MAX_DATASET_RUNS
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.object_paths import DATASETS_PREFIX, upload_key
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.definitions import build_resources
from influencerai_dagster.orchestration.training.dataset_upload_sensor import dataset_upload_sensor
from influencerai_dagster.settings import settings_from
from influencerai_dagster.storage.object_store import ObjectStore

NUM_TENANTS = 50
DATASETS_PER_TENANT = 20
UPLOADS_PER_DATASET = 12
UPLOAD_SIZE_BYTES = 2048  # a listing reads no pixels
ROUNDS = 7
_TENANTS = [f"tenant-{number:02d}" for number in range(NUM_TENANTS)]
_NUM_DATASETS = NUM_TENANTS * DATASETS_PER_TENANT
_NUM_UPLOADS = _NUM_DATASETS * UPLOADS_PER_DATASET


def run() -> Sequence[Comparison]:
    """Measure seconds of the first tick, and of one that finds nothing changed."""
    with running_s3() as server, running_catalog() as database_url:
        _write_uploads(server.bucket_dir)
        _add_tenants(database_url)
        store = server.store()
        with dg.DagsterInstance.ephemeral() as instance:
            sensor = _Sensor(instance, _resources(server, database_url))
            all_seen = sensor.cursor_when_all_is_seen()
            seconds = alternate(
                {
                    "listing": lambda: _list(store),
                    "first": lambda: sensor.tick(None, num_runs=MAX_DATASET_RUNS),
                    "steady": lambda: sensor.tick(all_seen, num_runs=0),
                },
                rounds=ROUNDS,
            )
    return [
        Comparison(
            name=f"sensor tick, {_NUM_DATASETS:,} datasets, {what}",
            baseline_name=f"one listing of their {_NUM_UPLOADS:,} uploads",
            unit="s",
            measured=seconds[side],
            baseline=seconds["listing"],
            better="lower",
        )
        for side, what in (("steady", "nothing changed"), ("first", "all new"))
    ]


def _write_uploads(bucket_dir: Path) -> None:
    for tenant in _TENANTS:
        for dataset in range(DATASETS_PER_TENANT):
            key = DatasetKey(tenant, f"dataset-{dataset:02d}")
            for upload in range(UPLOADS_PER_DATASET):
                path = bucket_dir / upload_key(key, f"img{upload:03d}.jpg")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(os.urandom(UPLOAD_SIZE_BYTES))


def _add_tenants(database_url: str) -> None:
    engine = create_catalog_engine(database_url)
    with transaction(engine) as session:
        for tenant in _TENANTS:
            add_tenant(session, tenant)
    engine.dispose()


def _resources(server: S3Server, database_url: str) -> Mapping[str, Any]:
    settings = settings_from(
        {
            "DATABASE_URL": database_url,
            "S3_ENDPOINT": server.endpoint_url,
            "S3_REGION": REGION,
            "S3_KEY": server.access_key,
            "S3_SECRET": server.secret_key,
            "S3_BUCKET": BUCKET,
        }
    )
    return {key: build_resources(settings)[key] for key in ("object_store", "catalog")}


def _list(store: ObjectStore) -> None:
    pages = store.client.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix=DATASETS_PREFIX
    )
    found = sum(len(page.get("Contents", [])) for page in pages)
    assert found == _NUM_UPLOADS, f"{found} uploads instead of {_NUM_UPLOADS}"


class _Sensor:
    """`dataset_upload_sensor` on the benchmark's own servers."""

    def __init__(self, instance: dg.DagsterInstance, resources: Mapping[str, Any]) -> None:
        self._instance = instance
        self._resources = resources
        self._sensor = dataset_upload_sensor(settle_seconds=0)

    def tick(self, cursor: str | None, *, num_runs: int) -> str | None:
        """Evaluate one tick that has to request so many runs; return its cursor."""
        with dg.build_sensor_context(self._instance, cursor, resources=self._resources) as context:
            result = self._sensor(context)
        assert isinstance(result, dg.SensorResult), result
        found = len(result.run_requests or ())
        assert found == num_runs, f"{found} runs requested instead of {num_runs}"
        return result.cursor

    def cursor_when_all_is_seen(self) -> str | None:
        """Tick until every dataset was requested once; also warms everything up.

        The requested runs are not launched, so each tick may request as many as the first.
        """
        cursor: str | None = None
        for left in range(_NUM_DATASETS, 0, -MAX_DATASET_RUNS):
            cursor = self.tick(cursor, num_runs=min(MAX_DATASET_RUNS, left))
        return cursor

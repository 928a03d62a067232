"""One tick of `dataset_upload_sensor` against one bare boto3 listing of the same prefix.

Resources are made anew for every tick, as Dagster's code server does.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from benchmarks.comparisons import Comparison, take_turns
from benchmarks.servers import BUCKET, REGION, S3Server, running_catalog, running_s3
from influencerai_dagster.catalog.engine import create_catalog_engine, transaction
from influencerai_dagster.catalog.tenants import add_tenant
from influencerai_dagster.definitions import build_definitions
from influencerai_dagster.domain.keys import DatasetKey
from influencerai_dagster.domain.object_paths import DATASETS_PREFIX, upload_key
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.object_store import (
    ObjectStoreResource,
    PathStyleS3Resource,
)
from influencerai_dagster.orchestration.sensors.dataset_uploads import (
    MAX_RUNS_PER_TICK,
    list_uploads,
)
from influencerai_dagster.settings import load_settings
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
        definitions = _definitions(server, database_url)
        states = list_uploads(store, _TENANTS)
        seen = {str(key): state.fingerprint for key, state in states.items()}
        cursor = json.dumps({"num_batches": 1, "seen": seen})
        with dg.DagsterInstance.ephemeral() as instance:
            sides = {
                "listing": lambda: _list(store),
                "first": lambda: _first_tick(definitions, instance),
                "steady": lambda: _steady_tick(definitions, instance, cursor),
            }
            take_turns(sides, rounds=1)
            seconds = take_turns(sides, rounds=ROUNDS)
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


def _definitions(server: S3Server, database_url: str) -> dg.Definitions:
    s3 = PathStyleS3Resource(
        endpoint_url=server.endpoint_url,
        region_name=REGION,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )
    resources = {
        "object_store": ObjectStoreResource(s3=s3, bucket=BUCKET),
        "catalog": CatalogResource(database_url=database_url),
    }
    return build_definitions(load_settings(dataset_settle_seconds=0), resources)


def _list(store: ObjectStore) -> None:
    pages = store.client.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix=DATASETS_PREFIX
    )
    found = sum(len(page.get("Contents", [])) for page in pages)
    assert found == _NUM_UPLOADS, f"{found} uploads instead of {_NUM_UPLOADS}"


def _first_tick(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    requests = _tick(definitions, instance, None).run_requests
    assert requests is not None
    assert len(requests) == MAX_RUNS_PER_TICK, f"{len(requests)} runs requested"


def _steady_tick(definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: str) -> None:
    result = _tick(definitions, instance, cursor)
    assert result.skip_message == f"{_NUM_DATASETS} datasets, none changed", result


def _tick(
    definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None
) -> "dg.SensorExecutionData":
    with dg.build_sensor_context(instance, cursor, definitions=definitions) as context:
        return definitions.resolve_sensor_def("dataset_upload_sensor").evaluate_tick(context)

"""Make the data that is backed up: databases of a stated size, and objects in the catalog.

Rows go into the real tables: jobs, their images, and Dagster's log of events, which is what grows
in such a system. Contents are random, as images and hashes are: nothing compresses them away.
"""

import json
import os
import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg2
from dagster_postgres import DagsterPostgresStorage
from psycopg2.extras import execute_values

from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.object_paths import output_key, output_manifest_key
from influencerai_dagster.db import migrate
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant

FULL_DATABASE_BYTES = 1000**3
FULL_NUM_OBJECTS = 10_000
TENANT = "acme"
_DAY = date(2026, 1, 1)
_EVENTS_AT_ONCE = 20_000
_IMAGE_BYTES = (100_000, 300_000)
_SIZE = "SELECT sum(pg_database_size(datname)) FROM pg_database"
_EVENT_NUMBERS = "SELECT coalesce(max(id), 0) FROM event_logs"
# About 1.2 kB an event, as Dagster's own have, half of it different in each.
_EVENTS = """
INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, step_key)
SELECT md5((number / 50)::text)::uuid::text,
       '{"__class__": "EventLogEntry", "dagster_event": {"__class__": "DagsterEvent", '
       || repeat('"event_specific_data": {"__class__": "EngineEventData"}, ', 8)
       || '"message": "' || (SELECT string_agg(md5(number::text || part::text), ' ')
                             FROM generate_series(1, 20) AS part) || '"}}',
       'STEP_OUTPUT', now(), 'render_images'
FROM generate_series(%(first)s, %(last)s) AS number
"""
_CHANGE = "UPDATE event_logs SET timestamp = now() WHERE id BETWEEN %(first)s AND %(last)s"
_JOBS = """
INSERT INTO jobs (id, tenant_id, day, kind, status, priority, payload, attempt, max_attempts,
                  result, finished_at) VALUES %s
"""
_MEDIA_ASSETS = """
INSERT INTO media_assets (tenant_id, id, job_id, kind, object_key, manifest_key, sha256, size_bytes,
                          width_px, height_px) VALUES %s
"""


@dataclass(frozen=True)
class Image:
    """An object and the manifest beside it.

    Attributes:
        manifest: the manifest's content.
    """

    job_id: UUID
    object_key: str
    sha256: str
    size_bytes: int
    manifest: bytes


def make_databases(catalog_url: str, dagster_url: str) -> None:
    """Make the catalog with one tenant, and Dagster's storage."""
    for url in (catalog_url, dagster_url):
        migrate.ensure_database(url)
    migrate.upgrade(catalog_url)
    storage = DagsterPostgresStorage(dagster_url)
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.dispose()
    engine = create_catalog_engine(catalog_url)
    with transaction(engine) as session:
        add_tenant(session, TENANT)
    engine.dispose()


def write_images(bucket_dir: Path, num_objects: int) -> Sequence[Image]:
    """Write so many objects, every second one the manifest of the one before it."""
    sizes = random.Random(0)  # noqa: S311 - no secret
    return [_write_image(bucket_dir, sizes.randint(*_IMAGE_BYTES)) for _ in range(num_objects // 2)]


def _write_image(bucket_dir: Path, size_bytes: int) -> Image:
    job_id, data = uuid4(), os.urandom(size_bytes)
    key, sha256 = output_key(JobKind.IMAGE, TENANT, job_id, 1, ".png"), sha256_hex(data)
    parameters = {"prompt": "a woman in a café", "seed": job_id.int % 2**32, "steps": 30}
    manifest = json.dumps(
        {"object_key": key, "sha256": sha256, "size_bytes": size_bytes, **parameters}, indent=2
    ).encode()
    path = bucket_dir / key
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    (bucket_dir / output_manifest_key(key)).write_bytes(manifest)
    return Image(job_id, key, sha256, size_bytes, manifest)


def record_images(catalog_url: str, images: Sequence[Image]) -> None:
    """Add the completed jobs that made the images."""
    payload = json.dumps({"kind": "image", "prompt": "a woman in a café", "steps": 30})
    jobs = [
        (str(image.job_id), TENANT, _DAY, "image", "completed", 5, payload, 1, 3, "{}", _DAY)
        for image in images
    ]
    assets = [
        (
            *(TENANT, str(uuid4()), str(image.job_id), "image"),
            *(image.object_key, output_manifest_key(image.object_key)),
            *(image.sha256, image.size_bytes, 512, 512),
        )
        for image in images
    ]
    with closing(psycopg2.connect(catalog_url)) as connection, connection.cursor() as cursor:
        execute_values(cursor, _JOBS, jobs)
        execute_values(cursor, _MEDIA_ASSETS, assets)
        connection.commit()


def fill(dagster_url: str, size_bytes: int) -> int:
    """Add events until all databases of the server together have a size; return their size."""
    while (found := database_bytes(dagster_url)) < size_bytes:
        first = _ask(dagster_url, _EVENT_NUMBERS) + 1
        execute(dagster_url, _EVENTS, first=first, last=first + _EVENTS_AT_ONCE - 1)
    return found


def change(dagster_url: str, share: float) -> None:
    """Write a share of all events again, those of a stretch of time."""
    last = int(_ask(dagster_url, _EVENT_NUMBERS) * share)
    execute(dagster_url, _CHANGE, first=1, last=last)


def database_bytes(url: str) -> int:
    """Return the size of all databases of a server."""
    return int(_ask(url, _SIZE))


def _ask(url: str, statement: str) -> int:
    ((found,),) = execute(url, statement)
    return int(found)


def execute(url: str, statement: str, **values: object) -> list[tuple[Any, ...]]:
    """Run a statement of its own transaction."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []

"""A verification names what is broken, and tells what may be meant so apart from it."""

from functools import partial
from pathlib import Path

import pytest
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import text

from influencerai_dagster.backup.verification.contents import (
    BucketContents,
    Contents,
    FolderContents,
)
from influencerai_dagster.backup.verification.verification import (
    Verification,
    shown_problems,
    verify_databases,
    verify_objects,
)
from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.db import migrate
from influencerai_dagster.db.datasets import record_dataset
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.loras import record_lora
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import dataset_manifest, lora_manifest
from influencerai_dagster_tests.testing.database_server import execute
from influencerai_dagster_tests.testing.waiting import wait_until

WEIGHTS = b"weights"
WEIGHTS_KEY = "loras/demo/lora1.safetensors"


def filled_catalog(url: str) -> dict[str, bytes]:
    """Record a dataset and a LoRA; return the objects that they name."""
    dataset = dataset_manifest()
    lora = lora_manifest(weights_sha256=sha256_hex(WEIGHTS), weights_size_bytes=len(WEIGHTS))
    with transaction(create_catalog_engine(url)) as session:
        add_tenant(session, "demo")
        record_dataset(session, dataset)
        record_lora(session, lora)
    return {
        WEIGHTS_KEY: WEIGHTS,
        lora.object_key(): b"{}",
        dataset.object_key(): dataset.model_dump_json().encode(),
        **{image.object_key: bytes([n]) for n, image in enumerate(dataset.images)},
    }


def verified(url: str, contents: Contents) -> Verification:
    found = Verification()
    engine = create_catalog_engine(url)
    try:
        verify_objects(found, engine, contents, on_progress=lambda _: None)
    finally:
        engine.dispose()
    return found


def in_folder(objects: dict[str, bytes], folder: Path) -> FolderContents:
    for key, data in objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return FolderContents(folder)


def test_a_bucket_and_a_folder_with_all_objects_are_valid(
    database_url: str, object_store: ObjectStore, tmp_path: Path
) -> None:
    objects = filled_catalog(database_url)
    for key, data in objects.items():
        object_store.put_new(key, data)
    for contents in (BucketContents(object_store), in_folder(objects, tmp_path)):
        found = verified(database_url, contents)
        assert found.is_valid
        assert found.warnings == []
        assert found.num_objects == len(objects)
        assert found.size_bytes == sum(len(data) for data in objects.values())


MANIFEST_KEY = dataset_manifest().object_key()
BROKEN = {
    "missing": (WEIGHTS_KEY, None, f"object {WEIGHTS_KEY} of loras is missing"),
    "truncated": (WEIGHTS_KEY, b"weight", "has 6 bytes, the catalog says 7"),
    "flipped": (WEIGHTS_KEY, b"weightz", f"SHA-256 {sha256_hex(b'weightz')}, the catalog says"),
    "no manifest": (MANIFEST_KEY, b"{", "is not a manifest of a dataset"),
    "other manifest": (
        MANIFEST_KEY,
        dataset_manifest(num_images=1).model_dump_json().encode(),
        "is not of version",
    ),
}


@pytest.mark.parametrize(("key", "data", "words"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("is_bucket", [True, False], ids=["bucket", "folder"])
def test_what_is_broken_is_named(
    database_url: str,
    object_store: ObjectStore,
    tmp_path: Path,
    *,
    key: str,
    data: bytes | None,
    words: str,
    is_bucket: bool,
) -> None:
    objects = filled_catalog(database_url)
    broken = {k: v for k, v in (objects | {key: data}).items() if v is not None}
    if is_bucket:
        for name, content in broken.items():
            object_store.put_new(name, content)
        contents: Contents = BucketContents(object_store)
    else:
        contents = in_folder(broken, tmp_path)
    (problem,) = verified(database_url, contents).problems
    assert words in problem


def test_an_upload_that_is_gone_or_replaced_is_a_warning(database_url: str, tmp_path: Path) -> None:
    objects = filled_catalog(database_url)
    gone, replaced = (image.object_key for image in dataset_manifest().images)
    found = verified(
        database_url,
        in_folder({k: v for k, v in (objects | {replaced: b"new"}).items() if k != gone}, tmp_path),
    )
    assert found.is_valid
    assert found.warnings == [
        f"upload {gone} is missing",
        f"upload {replaced} was replaced after its dataset's scan",
    ]


def test_every_table_of_both_databases_is_counted(
    database_url: str, empty_database_url: str
) -> None:
    storage = DagsterPostgresStorage(empty_database_url)
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.dispose()
    filled_catalog(database_url)
    found = verify_databases(database_url, empty_database_url)
    assert found.is_valid
    assert found.migrated_from is None
    assert found.rows["loras"] == 1
    assert found.rows["dagster.runs"] == 0


def test_every_row_is_read_also_where_an_index_could_count_them(
    database_url: str, empty_database_url: str
) -> None:
    storage = DagsterPostgresStorage(empty_database_url)
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.dispose()
    number = 5_000
    tables = {
        database_url: ("tenants", "INSERT INTO tenants (id, name)"),
        empty_database_url: ("event_logs", "INSERT INTO event_logs (run_id, event)"),
    }
    for url, (table, insert) in tables.items():
        rows = f"SELECT n, repeat('wide', 250) FROM generate_series(1, {number}) AS n"  # noqa: S608 - our own numbers
        execute(url, f"{insert} {rows}")
        execute(url, f"VACUUM (ANALYZE) {table}")
    read = {url: rows_read(url, table) for url, (table, _) in tables.items()}
    assert verify_databases(database_url, empty_database_url).is_valid
    for url, (table, _) in tables.items():
        wait_until(partial(_has_read, url, table, read[url] + number), f"{table} is counted")


def _has_read(url: str, table: str, rows: int) -> bool:
    return rows_read(url, table) == rows


def rows_read(url: str, table: str) -> int:
    """How many rows were read from the table itself since ever."""
    query = f"SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = '{table}'"  # noqa: S608 - our own names
    ((found,),) = execute(url, query)
    return int(str(found))


def test_a_storage_that_dagster_never_used_is_a_problem(
    database_url: str, empty_database_url: str
) -> None:
    (problem,) = verify_databases(database_url, empty_database_url).problems
    assert "Dagster's storage" in problem


def test_a_database_without_a_catalog_is_a_problem(empty_database_url: str) -> None:
    (problem,) = verify_databases(empty_database_url, empty_database_url).problems
    assert "has no catalog" in problem


def test_a_catalog_of_a_newer_release_is_refused(database_url: str) -> None:
    with transaction(create_catalog_engine(database_url)) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert migrate.current_revision(database_url) == "9999"
    with pytest.raises(PermanentError, match="was migrated by a newer one"):
        verify_databases(database_url, database_url)


def test_many_problems_are_shown_as_the_first_and_a_number() -> None:
    shown = shown_problems([str(n) for n in range(60)])
    assert shown.splitlines()[-2:] == ["49", "and 10 more"]

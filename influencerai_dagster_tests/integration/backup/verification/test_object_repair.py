"""An object with corrupt bytes gets the right ones back, and the wrong ones are kept."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from influencerai_dagster.backup.objects.copies import copy_objects
from influencerai_dagster.backup.objects.locations import BackupTarget, Bucket
from influencerai_dagster.backup.objects.rclone import Rclone
from influencerai_dagster.backup.verification.objects import Assets
from influencerai_dagster.backup.verification.verification import Verification
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.integration.backup.verification.test_verification import (
    MANIFEST_KEY,
    WEIGHTS,
    WEIGHTS_KEY,
    filled_catalog,
)
from influencerai_dagster_tests.testing.backed_up import bucket_of
from influencerai_dagster_tests.testing.catalog_rows import dataset_manifest
from influencerai_dagster_tests.testing.servers import S3Server

WRONG = {
    "flipped": (WEIGHTS_KEY, b"weightz"),
    "truncated": (WEIGHTS_KEY, WEIGHTS[:-1]),
    "manifest of another version": (
        MANIFEST_KEY,
        dataset_manifest(num_images=1).model_dump_json().encode(),
    ),
}


@pytest.fixture
def objects(database_url: str, object_store: ObjectStore) -> dict[str, bytes]:
    objects = filled_catalog(database_url)
    for key, data in objects.items():
        object_store.put_new(key, data)
    return objects


WINDOW = timedelta(days=30)


def back_up(source: Bucket, target: BackupTarget, *, after: timedelta = timedelta(0)) -> None:
    copy_objects(source, target, recovery_window=WINDOW, now=datetime.now(UTC) + after)


def verified(url: str, assets: Assets) -> Verification:
    found = Verification()
    assets.verify(url, found, print)
    return found


def kept(target: BackupTarget, key: str) -> list[str | None]:
    """What the target keeps of the corrupt bytes of an object."""
    rclone = Rclone(target.location, target)
    return [rclone.read(f"target:wrong/{stamp}/{key}") for stamp in rclone.folders("target:wrong")]


@pytest.mark.parametrize(("key", "data"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("is_in_history", [False, True], ids=["newest", "history"])
def test_the_right_bytes_come_back_and_the_wrong_ones_are_kept(
    database_url: str,
    object_store: ObjectStore,
    objects: dict[str, bytes],
    source: Bucket,
    tmp_path: Path,
    *,
    key: str,
    data: bytes,
    is_in_history: bool,
) -> None:
    target = BackupTarget(tmp_path / "backup")
    back_up(source, target)
    object_store.put_latest(key, data)
    if is_in_history:  # a backup came in between, and took the corrupt bytes for new ones
        back_up(source, target)
    found = verified(database_url, Assets(object_store, source, target))
    assert found.problems == []
    assert found.num_objects == len(objects)
    (note,) = found.warnings
    assert f"object {key} was corrupt and was repaired" in note
    assert Path(note.rpartition(" are in ")[2]).read_bytes() == data
    assert object_store.get(key) == objects[key]
    assert verified(database_url, Assets(object_store, source, target)).warnings == []


def test_an_encrypted_backup_on_another_s3_repairs_too(
    database_url: str,
    object_store: ObjectStore,
    objects: dict[str, bytes],
    source: Bucket,
    second_s3_server: S3Server,
) -> None:
    location = bucket_of(second_s3_server, second_s3_server.store(), prefix="studio")
    target = BackupTarget(location, encryption_key="secret")
    back_up(source, target)
    object_store.put_latest(WEIGHTS_KEY, b"weightz")
    assert verified(database_url, Assets(object_store, source, target)).problems == []
    assert object_store.get(WEIGHTS_KEY) == objects[WEIGHTS_KEY]
    assert kept(target, WEIGHTS_KEY) == ["weightz"]


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize("is_encrypted", [False, True], ids=["folder", "encrypted on S3"])
def test_corrupt_bytes_are_deleted_when_the_recovery_window_has_passed(
    database_url: str,
    object_store: ObjectStore,
    source: Bucket,
    second_s3_server: S3Server,
    tmp_path: Path,
    *,
    is_encrypted: bool,
) -> None:
    target = BackupTarget(tmp_path / "backup")
    if is_encrypted:
        location = bucket_of(second_s3_server, second_s3_server.store(), prefix="studio")
        target = BackupTarget(location, encryption_key="secret")
    back_up(source, target)
    object_store.put_latest(WEIGHTS_KEY, b"weightz")
    assert verified(database_url, Assets(object_store, source, target)).problems == []
    back_up(source, target, after=WINDOW)
    assert kept(target, WEIGHTS_KEY) == ["weightz"]
    back_up(source, target, after=WINDOW + timedelta(days=2))
    assert kept(target, WEIGHTS_KEY) == []


def test_corrupt_bytes_stay_where_no_backup_has_right_ones(
    database_url: str,
    object_store: ObjectStore,
    objects: dict[str, bytes],
    source: Bucket,
    tmp_path: Path,
) -> None:
    target = BackupTarget(tmp_path / "backup")
    object_store.put_latest(WEIGHTS_KEY, b"weightz")
    back_up(source, target)
    (problem,) = verified(database_url, Assets(object_store, source, target)).problems
    assert f"object {WEIGHTS_KEY} of loras has SHA-256" in problem
    assert objects[WEIGHTS_KEY] != object_store.get(WEIGHTS_KEY) == b"weightz"
    assert not (tmp_path / "backup" / "wrong").exists()


def test_an_upload_that_its_tenant_replaced_is_left_alone(
    database_url: str,
    object_store: ObjectStore,
    objects: dict[str, bytes],
    source: Bucket,
    tmp_path: Path,
) -> None:
    target = BackupTarget(tmp_path / "backup")
    back_up(source, target)
    upload = dataset_manifest().images[0].object_key
    assert upload in objects
    object_store.put_latest(upload, b"a better photo")
    found = verified(database_url, Assets(object_store, source, target))
    assert found.warnings == [f"upload {upload} was replaced after its dataset's scan"]
    assert object_store.get(upload) == b"a better photo"


def test_corrupt_bytes_that_cannot_be_kept_are_not_overwritten(
    database_url: str,
    object_store: ObjectStore,
    objects: dict[str, bytes],
    source: Bucket,
    tmp_path: Path,
) -> None:
    target = BackupTarget(tmp_path / "backup")
    back_up(source, target)
    object_store.put_latest(WEIGHTS_KEY, b"weightz")
    (tmp_path / "backup" / "wrong").write_text("a file where the folder is to be")
    (problem,) = verified(database_url, Assets(object_store, source, target)).problems
    assert f"object {WEIGHTS_KEY} of loras has SHA-256" in problem
    assert objects[WEIGHTS_KEY] != object_store.get(WEIGHTS_KEY) == b"weightz"

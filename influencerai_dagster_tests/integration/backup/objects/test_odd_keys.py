"""Keys that rclone knows under other names, and keys that a backup cannot keep: all are named."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from influencerai_dagster.backup.objects.copies import _refuse_empty_parts, copy_objects
from influencerai_dagster.backup.objects.locations import BackupTarget, Bucket
from influencerai_dagster.backup.objects.missing import restore_objects
from influencerai_dagster.backup.objects.rclone import Rclone
from influencerai_dagster.backup.objects.rclone_log import Comparison, CopyResult
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.backed_up import bucket_of
from influencerai_dagster_tests.testing.servers import S3Server

WINDOW = timedelta(days=30)
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SIGNS = ["\u2409", "\u240a", "\u2421", "\u2400", "%0A", "\\", "'", '"', "\u00a0"]
CONTROLS = ["\n", "\r", "\t", "\x01", "\x1b", "\x7f"]


@pytest.mark.parametrize("encryption_key", ["", "secret"], ids=["plain", "encrypted"])
def test_an_odd_key_comes_back_when_it_is_asked_for(
    any_s3: S3Server, tmp_path: Path, encryption_key: str
) -> None:
    store = any_s3.store()
    odd = SIGNS if any_s3.name == "rclone" else [*SIGNS, *CONTROLS]
    contents = {f"d/x{sign}y.txt": f"{number}".encode() for number, sign in enumerate(odd)}
    for key, data in contents.items():
        store.put_latest(key, data)
    source, target = bucket_of(any_s3, store), BackupTarget(tmp_path / "backup", encryption_key)
    report = copy_objects(source, target, recovery_window=WINDOW)
    assert report.failures == {}
    assert report.copied.keys() == contents.keys()
    assert copy_objects(source, target, recovery_window=WINDOW).copied == {}
    for key in contents:
        store.delete(key)
    back = restore_objects(target, source, list(contents))
    assert (back.copied.keys(), back.not_found) == (contents.keys(), {})
    assert {key: store.get(key) for key in contents} == contents


def test_a_line_end_in_a_key_deletes_no_other_object(
    minio_server: S3Server, tmp_path: Path
) -> None:
    store, target = minio_server.store(), BackupTarget(tmp_path / "backup")
    source, keys = bucket_of(minio_server, store), {"x\ny", "x", "y", "keep"}
    for key in keys:
        store.put_latest(key, b"1")
    copy_objects(source, target, recovery_window=WINDOW, now=NOW)
    store.delete("x\ny")
    assert copy_objects(source, target, recovery_window=WINDOW, now=NOW).pruned == []
    later = NOW + WINDOW + timedelta(days=2)
    assert copy_objects(source, target, recovery_window=WINDOW, now=later).pruned == ["x\ny"]
    for key in keys:
        store.delete(key)
    assert restore_objects(target, source, None).copied.keys() == keys - {"x\ny"}


def test_an_object_that_the_target_hides_behind_another_is_a_failure_by_name(
    minio_server: S3Server, tmp_path: Path
) -> None:
    source = tmp_path / "folder"  # of a source that can keep both
    (source / "a").mkdir(parents=True)
    (source / "a" / "b").write_bytes(b"1")
    store = minio_server.store()
    store.put_latest("objects/a", b"there before")
    report = copy_objects(
        source, BackupTarget(bucket_of(minio_server, store)), recovery_window=WINDOW
    )
    assert list(report.failures) == ["a/b"]


class Recorder:
    """Stands for rclone where no server of the tests can hold such keys (AWS and moto can)."""

    def __init__(self) -> None:
        self.deleted: set[str] = set()

    def delete(self, path: str, keys: set[str]) -> None:
        assert path == "target:objects"
        self.deleted |= keys


def test_keys_with_empty_parts_are_failures_and_leave_nothing_under_another_name() -> None:
    sizes = {"d//x.txt": 1, "e//y.txt": 1, "e/y.txt": 1, "ok.txt": 1}
    result, rclone = CopyResult(copied=dict(sizes), found=Comparison(at_source=sizes)), Recorder()
    _refuse_empty_parts(cast("Rclone", cast("Any", rclone)), result, "objects", {"/lead.txt"})
    assert result.failures.keys() == {"d//x.txt", "e//y.txt", "/lead.txt"}
    assert all("empty part" in why and "rename" in why for why in result.failures.values())
    assert result.copied.keys() == {"ok.txt", "e/y.txt"}
    assert rclone.deleted == {"d/x.txt", "lead.txt"}  # "e/y.txt" is an object of its own


def wrong(target: Bucket, **changes: Any) -> BackupTarget:
    return BackupTarget(replace(target, **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret_key": "wrong"}, r"HTTP 403.*check BACKUP_S3_KEY and BACKUP_S3_SECRET"),
        ({"access_key": "nobody"}, r"HTTP 403.*check BACKUP_S3_KEY and BACKUP_S3_SECRET"),
        ({"name": "not-there"}, r"'not-there'.*NoSuchBucket.*set BACKUP_TARGET to one that exists"),
    ],
    ids=["secret", "key", "bucket"],
)
def test_a_target_that_cannot_be_used_is_told_by_its_setting_before_anything_is_copied(
    any_s3: S3Server, source: Bucket, changes: dict[str, Any], words: str
) -> None:
    target = bucket_of(any_s3, any_s3.store())
    with pytest.raises(PermanentError, match=words):
        copy_objects(source, wrong(target, **changes), recovery_window=WINDOW)
    with pytest.raises(PermanentError, match=words):
        restore_objects(wrong(target, **changes), source, None)


def test_a_source_that_cannot_be_used_is_told_by_its_setting(
    source: Bucket, object_store: ObjectStore, tmp_path: Path
) -> None:
    object_store.put_latest("x", b"1")
    with pytest.raises(PermanentError, match=r"check S3_KEY and S3_SECRET"):
        copy_objects(
            replace(source, secret_key="wrong"),  # noqa: S106 - no secret
            BackupTarget(tmp_path / "backup"),
            recovery_window=WINDOW,
        )


def test_where_no_key_is_set_the_keys_of_the_machine_reach_rclone(
    source: Bucket, object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store.put_latest("x", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", source.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", source.secret_key)
    of_machine = replace(source, access_key="", secret_key="")
    target = BackupTarget(tmp_path / "backup")
    assert copy_objects(of_machine, target, recovery_window=WINDOW).copied == {"x": 1}

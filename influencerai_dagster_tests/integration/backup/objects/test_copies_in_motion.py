"""What goes wrong, comes or goes while a bucket is copied: the backup says neither more nor less.

A proxy holds one request of rclone's back, so that it is known how far the copy is.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from influencerai_dagster.backup.objects.copies import ObjectBackupReport, copy_objects
from influencerai_dagster.backup.objects.locations import BackupTarget, Bucket, Location
from influencerai_dagster.backup.objects.missing import restore_objects
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.chaos.proxy import Proxy
from influencerai_dagster_tests.testing.backed_up import bucket_of
from influencerai_dagster_tests.testing.servers import S3Server

WINDOW = timedelta(days=30)
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=400)
IMAGE = "images/demo/1/output.png"
OTHER = "images/demo/2/output.png"
PAGE = 1000
"""So many keys a listing has at once."""


def backup(
    source: Location, target: BackupTarget, now: datetime = NOW, exclude: tuple[str, ...] = ()
) -> ObjectBackupReport:
    return copy_objects(source, target, recovery_window=WINDOW, exclude=exclude, now=now)


@pytest.fixture
def target(tmp_path: Path) -> BackupTarget:
    return BackupTarget(tmp_path / "backup")


@pytest.fixture
def filled(object_store: ObjectStore) -> ObjectStore:
    for key in (IMAGE, OTHER):
        object_store.put_latest(key, f"content of {key}".encode())
    return object_store


@contextmanager
def proxy_to(location: Bucket) -> Iterator[tuple[Proxy, Bucket]]:
    proxy = Proxy(urlsplit(location.endpoint_url or "").port or 0)
    try:
        yield proxy, replace(location, endpoint_url=proxy.url)
    finally:
        proxy.stop()


def backup_while(
    meanwhile: Callable[[], object], request: str, through: Bucket, source: Bucket, target: Bucket
) -> ObjectBackupReport:
    """Back up, and do something else when a request to one of both places is on its way."""
    with (
        proxy_to(through) as (proxy, location),
        ThreadPoolExecutor() as pool,
        proxy.holding(request.encode()) as hold,
    ):
        sides = [location if side == through else side for side in (source, target)]
        report = pool.submit(backup, sides[0], BackupTarget(sides[1]))
        assert hold.arrived.wait(timeout=20)
        meanwhile()
        hold.release()
        return report.result(timeout=60)


@pytest.fixture
def target_store(second_s3_server: S3Server) -> ObjectStore:
    return second_s3_server.store()


@pytest.fixture
def target_bucket(second_s3_server: S3Server, target_store: ObjectStore) -> Bucket:
    return bucket_of(second_s3_server, target_store)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk, and not in every container")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_listing_that_fails_half_way_marks_and_deletes_nothing(
    s3_server: S3Server, source: Bucket, target: BackupTarget, tmp_path: Path
) -> None:
    folder = s3_server.root_dir / source.name / "images"
    folder.mkdir()
    for number in range(PAGE + 1):
        (folder / f"{number:04}.png").write_bytes(b"image")
    assert backup(source, target).num_objects == PAGE + 1

    with proxy_to(source) as (proxy, location), proxy.holding(rb"GET \S+marker=") as hold:
        hold.cut()
        with pytest.raises(TransientError, match="error reading source root directory"):
            backup(location, target, LATER)
        assert hold.arrived.is_set()

    assert len(list((tmp_path / "backup" / "objects" / "images").iterdir())) == PAGE + 1
    assert not (tmp_path / "backup" / "objects-missing.json").exists()


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(
    target: BackupTarget, tmp_path: Path
) -> None:
    home = tmp_path / "barman"
    closed = home / "main" / "wals"
    closed.mkdir(parents=True)
    (closed / "000000010000000000000001").write_bytes(b"wal")
    backup(home, target)
    (home / "in-the-way").write_bytes(b"this fails too, and could be tried again")
    (tmp_path / "backup" / "objects" / "in-the-way").mkdir()
    (tmp_path / "backup" / "objects" / "in-the-way" / "file").touch()
    closed.chmod(0)
    if os.access(closed, os.R_OK):
        pytest.skip("root may read every folder")
    try:
        with pytest.raises(TransientError, match="failed to open directory"):
            backup(home, target, LATER)
    finally:
        closed.chmod(0o700)
    assert not (tmp_path / "backup" / "objects-missing.json").exists()


def test_an_object_that_is_deleted_while_the_copy_runs_is_no_failure(
    source: Bucket, filled: ObjectStore, target_bucket: Bucket
) -> None:
    request = f"GET /{source.name}/{IMAGE}"
    report = backup_while(lambda: filled.delete(IMAGE), request, source, source, target_bucket)
    assert report.failures == {}
    assert report.copied.keys() == {OTHER}
    assert report.missing_at_source == {}


def test_an_object_that_comes_while_the_copy_runs_is_in_the_next_backup(
    source: Bucket, filled: ObjectStore, target_bucket: Bucket
) -> None:
    late = "images/demo/0/output.png"
    request = f"GET /{source.name}/{IMAGE}"
    report = backup_while(
        lambda: filled.put_latest(late, b"late"), request, source, source, target_bucket
    )
    assert (report.num_objects, report.failures, report.missing_at_source) == (2, {}, {})
    assert backup(source, BackupTarget(target_bucket)).copied == {late: 4}


@pytest.mark.usefixtures("filled")
def test_an_object_that_the_target_lost_right_away_is_a_failure(
    source: Bucket, target_bucket: Bucket, target_store: ObjectStore
) -> None:
    request = f"HEAD /{target_bucket.name}/objects/{IMAGE}"
    report = backup_while(
        lambda: target_store.delete(f"objects/{IMAGE}"),
        request,
        target_bucket,
        source,
        target_bucket,
    )
    assert report.failures.keys() == {IMAGE}
    assert report.copied.keys() == {OTHER}
    assert report.num_objects == 2


@pytest.mark.usefixtures("filled")
def test_an_object_of_which_no_copy_is_told_is_a_failure(
    source: Bucket, target: BackupTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("influencerai_dagster.backup.objects.rclone_log._COPIED", ("Other words",))
    report = backup(source, target)
    assert report.failures == dict.fromkeys((IMAGE, OTHER), "the backup does not have it")


def test_what_does_not_fit_into_a_full_target_is_named_and_the_next_backup_goes_on(
    source: Bucket, object_store: ObjectStore, small_disk: Path
) -> None:
    keys = {f"images/demo/{number}.png" for number in range(6)}
    for key in keys:
        object_store.put_latest(key, bytes(1024**2))
    target = BackupTarget(small_disk)
    first = backup(source, target)
    there = {f"images/demo/{path.name}" for path in small_disk.glob("objects/images/demo/*")}
    assert there == first.copied.keys()
    assert first.failures.keys() == keys - there != set()
    assert all("space" in why for why in first.failures.values())
    assert (first.num_objects, first.missing_at_source) == (6, {})

    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    report = backup(source, target)
    assert report.copied.keys() == keys - there
    assert report.failures == {}


def test_keys_that_only_look_alike_are_two_objects(
    source: Bucket, object_store: ObjectStore, target: BackupTarget
) -> None:
    composed, decomposed = "datasets/demo/caf\u00e9.png", "datasets/demo/cafe\u0301.png"
    object_store.put_latest(composed, b"one")
    object_store.put_latest(decomposed, b"another")
    assert backup(source, target).copied == {composed: 3, decomposed: 7}
    object_store.delete(decomposed)
    assert restore_objects(target, source, None).copied == {decomposed: 7}


def test_a_restore_into_a_bucket_that_is_not_there_says_so(
    source: Bucket, filled: ObjectStore, target: BackupTarget
) -> None:
    backup(source, target)
    with pytest.raises(PermanentError, match=r"'nosuchbucket'.*NoSuchBucket.*S3_BUCKET"):
        restore_objects(target, replace(source, name="nosuchbucket"), None)
    assert filled.get(IMAGE) == f"content of {IMAGE}".encode()


def test_a_backup_without_objects_restores_none(source: Bucket, target: BackupTarget) -> None:
    assert restore_objects(target, source, None).copied == {}


def test_what_is_not_copied_any_more_stays_in_the_backup_for_its_time(
    target: BackupTarget, tmp_path: Path
) -> None:
    home = tmp_path / "barman"
    home.mkdir()
    (home / "00000002.partial").write_bytes(b"half")
    (home / "00000001").write_bytes(b"wal")
    backup(home, target)
    old = tmp_path / "backup" / "objects" / "00000002.partial"

    report = backup(home, target, NOW, exclude=("*.partial",))
    assert report.num_objects == 1
    assert report.missing_at_source == {"00000002.partial": NOW}
    assert old.read_bytes() == b"half"
    assert backup(home, target, LATER, exclude=("*.partial",)).pruned == ["00000002.partial"]
    assert not old.exists()

"""Copies of a bucket: incremental, checked, kept for long enough, and brought back."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from influencerai_dagster.backup.objects.copies import ObjectBackupReport, copy_objects
from influencerai_dagster.backup.objects.locations import BackupTarget, Bucket, Location
from influencerai_dagster.backup.objects.missing import restore_objects
from influencerai_dagster.backup.objects.rclone_log import CopyProgress
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.backed_up import bucket_of
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.servers import S3Server
from influencerai_dagster_tests.testing.waiting import wait_until

WINDOW = timedelta(days=30)
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
IMAGE = "images/demo/1/output.png"
MANIFEST = "datasets/demo/bella/manifest.json"
UPLOAD = "datasets/demo/bella/images/ein Bild – „neu“ #1.jpg"


def backup(source: Location, target: BackupTarget, now: datetime = NOW) -> ObjectBackupReport:
    return copy_objects(source, target, recovery_window=WINDOW, now=now)


@pytest.fixture(params=["folder", "encrypted folder", "second S3 server", "encrypted on S3"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> BackupTarget:
    """Each kind of target; a bucket has a prefix, as in one that is shared."""
    key = 'ke"y, 1' if "encrypted" in request.param else ""
    if "folder" in request.param:
        return BackupTarget(tmp_path / "backup", encryption_key=key)
    server: S3Server = request.getfixturevalue("second_s3_server")
    return BackupTarget(bucket_of(server, server.store(), prefix="studio/one"), encryption_key=key)


quick_targets = pytest.mark.parametrize("target", ["folder", "encrypted on S3"], indirect=True)


@pytest.fixture
def filled(object_store: ObjectStore) -> ObjectStore:
    for key in (IMAGE, MANIFEST, UPLOAD):
        object_store.put_latest(key, f"content of {key}".encode())
    return object_store


def test_a_backup_brings_a_lost_bucket_back_on_another_server(
    source: Bucket, target: BackupTarget, filled: ObjectStore, second_s3_server: S3Server
) -> None:
    report = backup(source, target)
    assert (report.num_objects, report.failures) == (3, {})
    assert report.copied == {item.key: item.size_bytes for item in filled.list("")}

    other = second_s3_server.store()
    back = restore_objects(target, bucket_of(second_s3_server, other), None)

    assert back.not_found == {}
    assert other.get(UPLOAD) == filled.get(UPLOAD)
    assert [item.key for item in other.list("")] == [item.key for item in filled.list("")]


def test_a_second_backup_copies_only_what_is_new_or_changed(
    source: Bucket, target: BackupTarget, filled: ObjectStore
) -> None:
    backup(source, target)
    assert backup(source, target).copied == {}
    filled.put_latest("images/demo/2/output.png", b"new")
    filled.put_latest(MANIFEST, b"a newer manifest")
    report = backup(source, target, NOW + DAY)
    assert report.copied == {"images/demo/2/output.png": 3, MANIFEST: 16}
    assert report.replaced == [MANIFEST]


def test_with_a_key_nothing_readable_is_at_rest_and_the_wrong_key_reads_nothing(
    source: Bucket, filled: ObjectStore, tmp_path: Path
) -> None:
    secret = BackupTarget(tmp_path / "backup", encryption_key="right")
    backup(source, secret)
    stored = (tmp_path / "backup" / "objects" / IMAGE).read_bytes()
    assert stored.startswith(b"RCLONE")
    assert filled.get(IMAGE) not in stored
    filled.delete(IMAGE)
    wrong = BackupTarget(tmp_path / "backup", encryption_key="wrong")
    assert IMAGE in restore_objects(wrong, source, [IMAGE]).not_found
    assert restore_objects(secret, source, [IMAGE]).not_found == {}
    assert filled.get(IMAGE) == f"content of {IMAGE}".encode()


def test_a_flipped_byte_in_the_backup_is_found_and_repaired_by_the_next_one(
    source: Bucket, filled: ObjectStore, tmp_path: Path
) -> None:
    target = BackupTarget(tmp_path / "backup")
    backup(source, target)
    copy = tmp_path / "backup" / "objects" / IMAGE
    content = bytearray(copy.read_bytes())
    content[3] ^= 1
    copy.write_bytes(content)
    assert list(backup(source, target, NOW + DAY).copied) == [IMAGE]
    assert copy.read_bytes() == filled.get(IMAGE)


@quick_targets
def test_what_is_gone_at_the_source_stays_until_the_window_has_passed(
    source: Bucket, target: BackupTarget, filled: ObjectStore
) -> None:
    backup(source, target)
    filled.delete(IMAGE)
    first = backup(source, target, NOW)
    last = backup(source, target, NOW + WINDOW + DAY)
    assert first.missing_at_source == last.missing_at_source == {IMAGE: NOW}
    assert first.pruned == last.pruned == []
    after = backup(source, target, NOW + WINDOW + DAY + timedelta(seconds=1))
    assert after.pruned == [IMAGE]
    assert after.missing_at_source == {}
    assert restore_objects(target, source, [IMAGE]).not_found == {
        IMAGE: "the backup does not have it"
    }


def test_what_came_back_begins_a_new_window_when_it_goes_again(
    source: Bucket, filled: ObjectStore, tmp_path: Path
) -> None:
    target = BackupTarget(tmp_path / "backup")
    backup(source, target)
    content = filled.get(IMAGE)
    filled.delete(IMAGE)
    backup(source, target, NOW)
    filled.put_latest(IMAGE, content)
    backup(source, target, NOW + DAY)
    filled.delete(IMAGE)
    backup(source, target, NOW + 20 * DAY)
    report = backup(source, target, NOW + 40 * DAY)
    assert report.missing_at_source == {IMAGE: NOW + 20 * DAY}
    assert report.pruned == []


def test_an_emptied_bucket_empties_no_backup(
    source: Bucket, filled: ObjectStore, tmp_path: Path
) -> None:
    target = BackupTarget(tmp_path / "backup")
    backup(source, target)
    for key in (IMAGE, MANIFEST, UPLOAD):
        filled.delete(key)
    backup(source, target)
    assert backup(source, target, NOW + 400 * DAY).pruned == []
    assert restore_objects(target, source, None).copied.keys() == {IMAGE, MANIFEST, UPLOAD}


def test_what_was_replaced_stays_in_the_history_until_the_window_has_passed(
    source: Bucket, filled: ObjectStore, tmp_path: Path
) -> None:
    target = BackupTarget(tmp_path / "backup")
    backup(source, target)
    filled.put_latest(MANIFEST, b"newer")
    backup(source, target, NOW)
    old = tmp_path / "backup" / "history" / "20261125T120000Z" / MANIFEST
    backup(source, target, NOW + WINDOW + DAY)
    assert old.read_bytes() == f"content of {MANIFEST}".encode()
    filled.delete(MANIFEST)
    (tmp_path / "backup" / "objects" / MANIFEST).unlink()
    assert restore_objects(target, source, [MANIFEST]).not_found == {}
    assert filled.get(MANIFEST) == old.read_bytes()
    backup(source, target, NOW + WINDOW + 2 * DAY)
    assert not old.exists()


def test_a_folder_that_a_person_made_beside_the_history_is_neither_used_nor_deleted(
    source: Bucket, filled: ObjectStore, tmp_path: Path
) -> None:
    target = BackupTarget(tmp_path / "backup")
    backup(source, target)
    own = tmp_path / "backup" / "history" / "zz before the move" / IMAGE
    own.parent.mkdir(parents=True)
    own.write_bytes(b"not a version")
    (tmp_path / "backup" / "objects" / IMAGE).unlink()
    filled.delete(IMAGE)
    backup(source, target, NOW + 400 * DAY)
    assert list(restore_objects(target, source, [IMAGE]).not_found) == [IMAGE]
    assert own.read_bytes() == b"not a version"


@quick_targets
def test_a_restore_overwrites_nothing_and_copies_only_what_is_missing(
    source: Bucket, target: BackupTarget, filled: ObjectStore
) -> None:
    backup(source, target)
    filled.put_latest(MANIFEST, b"newer than the backup")
    filled.delete(IMAGE)
    report = restore_objects(target, source, [IMAGE, MANIFEST, "images/demo/none.png"])
    assert report.copied.keys() == {IMAGE}
    assert report.not_found == {"images/demo/none.png": "the backup does not have it"}
    assert filled.get(MANIFEST) == b"newer than the backup"
    assert restore_objects(target, source, [IMAGE]).copied == {}


@pytest.mark.usefixtures("filled")
def test_an_object_that_cannot_be_copied_is_named_and_the_others_are_copied(
    source: Bucket, tmp_path: Path
) -> None:
    (tmp_path / "backup" / "objects" / IMAGE).mkdir(parents=True)
    (tmp_path / "backup" / "objects" / IMAGE / "in the way").touch()
    report = backup(source, BackupTarget(tmp_path / "backup"))
    assert list(report.failures) == [IMAGE]
    assert report.copied.keys() == {MANIFEST, UPLOAD}


def test_the_bandwidth_limit_is_kept_and_progress_is_told(
    source: Bucket, object_store: ObjectStore, tmp_path: Path
) -> None:
    object_store.put_latest("images/demo/big.png", bytes(3 * 1024**2))
    reported: list[CopyProgress] = []
    report = copy_objects(
        source,
        BackupTarget(tmp_path / "backup", bandwidth_limit="1M"),
        recovery_window=WINDOW,
        on_progress=reported.append,
    )
    assert report.seconds > 1.5
    assert reported[-1].copied_bytes == reported[-1].total_bytes == 3 * 1024**2
    assert reported[-1].num_copied == 1


@pytest.mark.parametrize("target", ["second S3 server"], indirect=True)
def test_barmans_folder_is_copied_off_site_beside_the_objects(
    target: BackupTarget, object_store: ObjectStore, s3_server: S3Server, tmp_path: Path
) -> None:
    home = tmp_path / "barman"
    (home / "main" / "wals").mkdir(parents=True)
    (home / "main" / "wals" / "000000010000000000000001").write_bytes(b"wal")
    (home / "main" / "wals" / "0002.partial").write_bytes(b"half")

    def copy() -> ObjectBackupReport:
        return copy_objects(
            home, target, recovery_window=DAY, folder="barman", exclude=["*.partial"], now=NOW
        )

    assert list(copy().copied) == ["main/wals/000000010000000000000001"]
    assert copy().copied == {}
    back = tmp_path / "back"
    back.mkdir()
    restore_objects(target, back, None, folder="barman")
    assert (back / "main" / "wals" / "000000010000000000000001").read_bytes() == b"wal"
    into = bucket_of(s3_server, object_store)
    assert restore_objects(target, into, None).copied == {}


@pytest.mark.parametrize("what", ["bucket", "folder", "server"])
def test_a_source_that_is_not_there_is_not_an_empty_one(
    what: str, s3_server: S3Server, source: Bucket, filled: ObjectStore, tmp_path: Path
) -> None:
    target = BackupTarget(tmp_path / "backup")
    backup(source, target)
    places: dict[str, Location] = {
        "bucket": Bucket("nosuchbucket", s3_server.endpoint_url, "test-access", source.secret_key),
        "folder": tmp_path / "none",
        "server": Bucket("assets", f"http://127.0.0.1:{free_port()}", "key", "secret"),
    }
    with pytest.raises((PermanentError, TransientError)):
        backup(places[what], target, NOW + 400 * DAY)
    assert filled.get(IMAGE) == (tmp_path / "backup" / "objects" / IMAGE).read_bytes()


def test_a_backup_that_was_killed_goes_on_where_it_was(
    source: Bucket, object_store: ObjectStore, tmp_path: Path
) -> None:
    # More than rclone copies at once: those end at about the same moment.
    for number in range(12):
        object_store.put_latest(f"images/demo/{number}.png", bytes(1024**2))
    script = (
        "import sys\n"
        "from datetime import timedelta\n"
        "from pathlib import Path\n"
        "from influencerai_dagster.backup.objects.copies import copy_objects\n"
        "from influencerai_dagster.backup.objects.locations import BackupTarget, Bucket\n"
        "target = BackupTarget(Path(sys.argv[4]), bandwidth_limit='1M')\n"
        "source = Bucket(*sys.argv[1:3], 'test-access', sys.argv[3])\n"
        "copy_objects(source, target, recovery_window=timedelta(days=30))\n"
    )
    values = (source.name, str(source.endpoint_url), source.secret_key, str(tmp_path / "backup"))
    with subprocess.Popen([sys.executable, "-c", script, *values], start_new_session=True) as copy:
        wait_until(lambda: any(tmp_path.glob("backup/objects/images/demo/*.png")), "an image")
        os.killpg(copy.pid, signal.SIGKILL)
    there = len(list(tmp_path.glob("backup/objects/images/demo/*.png")))
    assert 1 <= there < 12
    report = backup(source, BackupTarget(tmp_path / "backup"))
    assert len(report.copied) == 12 - there
    assert len(list(tmp_path.glob("backup/objects/images/demo/*.png"))) == 12

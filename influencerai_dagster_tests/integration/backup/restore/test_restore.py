"""PostgreSQL and objects come back to one target_time, also after the restore itself was killed."""

import errno
import fcntl
import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from influencerai_dagster.backup.objects.locations import Bucket
from influencerai_dagster.backup.restore.recovery import choose_backup
from influencerai_dagster.backup.restore.restored_server import RestoredServer
from influencerai_dagster.backup.restore.run import plan
from influencerai_dagster.backup.restore.source import choose
from influencerai_dagster.backup.verification.objects import Assets
from influencerai_dagster.errors import InsufficientStorageError, PermanentError
from influencerai_dagster.local.postgres import programs_dir
from influencerai_dagster_tests.testing.backed_up import BackedUp, execute, restored
from influencerai_dagster_tests.testing.servers import S3Server
from influencerai_dagster_tests.testing.waiting import wait_until

WAL_PAGE_BYTES = 8192


def answers(system: BackedUp, into: Path, *statements: str) -> list[str]:
    """Start the restored server and ask it."""
    with RestoredServer(into, programs_dir()) as server:
        return [execute(server.url_of(system.database_url), sql) for sql in statements]


def test_a_table_that_was_dropped_is_back_with_all_that_was_committed_by_then(
    backed_up: BackedUp, scratch: Path
) -> None:
    into = scratch / "restored"
    report = restored(backed_up.restore(into, backed_up.before_drop), print)
    assert report.verification.problems == []
    assert report.restored_to is not None
    assert report.restored_to <= backed_up.before_drop
    assert report.verification.rows["loras"] == 7
    assert {path.name for path in scratch.iterdir()} == {"restored", "restored.restoring.log"}
    assert answers(backed_up, into, "SELECT answer FROM precious") == ["42"]
    assert "restore_command" not in (into / "postgresql.auto.conf").read_text()


def test_after_data_directory_and_bucket_are_lost_all_comes_back_on_another_s3(
    backed_up: BackedUp, scratch: Path, second_s3_server: S3Server
) -> None:
    store = second_s3_server.store()
    location = Bucket(
        store.bucket,
        endpoint_url=second_s3_server.endpoint_url,
        access_key=second_s3_server.access_key,
        secret_key=second_s3_server.secret_key,
    )
    assets = Assets(store, location, backed_up.target)
    into = scratch / "restored"
    wrong = "loras/demo/lora2.safetensors"
    store.put_new(wrong, b"what a broken disk left of it")
    report = restored(backed_up.restore(into, None, assets=assets), print)
    assert report.verification.problems == []
    (repaired,) = report.verification.warnings
    assert repaired.startswith(f"object {wrong} was corrupt and was repaired from the backup")
    assert store.get(wrong) == backed_up.store.get(wrong)
    assert report.verification.num_objects == len(backed_up.keys)
    assert {info.key for info in store.list("")} == set(backed_up.keys)
    assert answers(backed_up, into, "SELECT count(*) FROM loras") == ["9"]
    assert report.verification.rows["dagster.runs"] == 0


def test_a_target_time_after_the_last_transaction_is_the_end_of_the_wal(
    backed_up: BackedUp, scratch: Path
) -> None:
    target_time = datetime.now(UTC) - timedelta(milliseconds=1)
    report = restored(backed_up.restore(scratch / "restored", target_time), print)
    assert report.verification.rows["loras"] == 9


def test_wal_that_ends_with_a_page_is_restored_to_its_end(
    backed_up: BackedUp, scratch: Path
) -> None:
    (received,) = backed_up.barman.folder.glob("streaming/*.partial")
    execute(backed_up.database_url, "CREATE TABLE many_pages AS SELECT generate_series(1, 9999)")
    wait_until(
        lambda: len(received.read_bytes().rstrip(b"\0")) > 9 * WAL_PAGE_BYTES,
        "more than nine pages are received",
    )
    system = backed_up.copied(scratch / "copy")
    (path,) = system.barman.folder.glob("streaming/*.partial")
    data = path.read_bytes()
    end = len(data.rstrip(b"\0")) // WAL_PAGE_BYTES * WAL_PAGE_BYTES
    path.unlink()  # it is shared with the system's own
    path.write_bytes(data[:end].ljust(len(data), b"\0"))
    report = restored(system.restore(scratch / "restored", None), print)
    assert report.verification.rows["loras"] == 9
    log = (scratch / "restored.restoring.log").read_text()
    assert "invalid magic number 0000" in log


def test_an_object_that_no_backup_has_is_named_and_the_database_is_in_its_place(
    backed_up: BackedUp, scratch: Path
) -> None:
    broken = backed_up.copied(scratch / "copy")
    key = "loras/demo/lora3.safetensors"
    (Path(str(broken.target.location)) / "objects" / key).unlink()
    empty = Assets(broken.store, broken.location, broken.target)
    backed_up.store.client.copy_object(
        Bucket=backed_up.store.bucket, Key="kept", CopySource=f"{backed_up.store.bucket}/{key}"
    )
    backed_up.store.delete(key)
    try:
        report = restored(broken.restore(scratch / "restored", broken.newest, assets=empty), print)
    finally:
        backed_up.store.put_new(key, backed_up.store.get("kept"))
        backed_up.store.delete("kept")
    assert report.verification.problems == [f"object {key} of loras is missing"]
    assert (scratch / "restored" / "PG_VERSION").exists()


@pytest.mark.parametrize(
    ("target_time", "words"),
    [
        (datetime(2020, 1, 1, tzinfo=UTC), "No backup was complete at .* the oldest target time"),
        (datetime(2999, 1, 1, tzinfo=UTC), "lies in the future"),
    ],
    ids=["too old", "future"],
)
def test_a_target_time_that_cannot_be_restored_is_refused_with_those_that_can(
    backed_up: BackedUp, target_time: datetime, words: str
) -> None:
    with pytest.raises(PermanentError, match=words):
        choose(backed_up.barman, target_time, datetime.now(UTC))


def test_tablespaces_are_refused_because_their_places_are_those_of_the_running_server(
    backed_up: BackedUp, scratch: Path
) -> None:
    system = backed_up.copied(scratch / "copy")
    newest = system.barman.list_backups()[-1].backup_id
    (system.barman.data_dir(newest) / "pg_tblspc" / "16999").symlink_to(scratch / "elsewhere")
    with pytest.raises(PermanentError, match=r"has tablespaces \(16999\)"):
        restored(system.restore(scratch / "restored", None), print)


def test_a_full_backup_is_restored_without_pg_combinebackup(
    backed_up: BackedUp, scratch: Path
) -> None:
    full = backed_up.barman.list_backups()[0]
    recovery = replace(choose_backup(backed_up.barman, None), backup=full)
    programs = scratch / "programs"
    programs.mkdir()
    for program in programs_dir().iterdir():
        if program.name != "pg_combinebackup":  # which PostgreSQL 16 does not have
            (programs / program.name).symlink_to(program)
    server = replace(backed_up.barman, postgres_bin_dir=programs)
    replace(recovery, server=server).copy(scratch / "staging")
    with recovery.opened(scratch / "staging") as restored:
        assert execute(restored.url_of(backed_up.database_url), "SELECT count(*) FROM loras") == "9"
    with pytest.raises(PermanentError, match=r"pg_combinebackup is not in .*17 or newer"):
        choose_backup(server, None).copy(scratch / "another")


def test_a_full_disk_is_named(
    backed_up: BackedUp, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("influencerai_dagster.backup.restore.wal_copy.shutil.copyfileobj", fail)
    with pytest.raises(InsufficientStorageError, match=r"was not copied to .*No space left"):
        choose_backup(backed_up.barman, None).copy(scratch / "staging")


def test_a_plan_writes_nothing_and_says_every_step(backed_up: BackedUp, scratch: Path) -> None:
    found = plan(backed_up.restore(scratch / "restored", backed_up.before_drop))
    assert found.problems == []
    assert [line.split(" ")[0].strip(":") for line in found.shown_steps] == [
        *("check", "copy", "start", "copy", "verify", "stop"),
    ]
    assert list(scratch.iterdir()) == []


def test_what_is_there_is_left_alone_without_force_and_moved_aside_with_it(
    backed_up: BackedUp, scratch: Path
) -> None:
    into = scratch / "restored"
    into.mkdir()
    (into / "mine").touch()
    request = backed_up.restore(into, backed_up.before_drop)
    with pytest.raises(PermanentError, match=r"restored is not empty"):
        restored(request, print)
    assert "is not empty" in plan(request).problems[0]
    assert [path.name for path in into.iterdir()] == ["mine"]
    report = restored(replace(request, is_forced=True), print)
    assert report.moved_aside is not None
    assert [path.name for path in Path(report.moved_aside).iterdir()] == ["mine"]
    assert (into / "PG_VERSION").exists()


@pytest.mark.parametrize("is_forced", [False, True], ids=["not forced", "forced"])
def test_the_folder_of_a_running_postgresql_is_never_touched(
    backed_up: BackedUp, *, is_forced: bool
) -> None:
    into = backed_up.postgres.data_dir
    with pytest.raises(PermanentError, match=r"PostgreSQL runs in .* stop it first"):
        restored(backed_up.restore(into, None, is_forced=is_forced), print)
    assert execute(backed_up.database_url, "SELECT 1") == "1"


def test_another_restore_into_the_same_folder_has_to_wait_for_the_end_of_the_first(
    backed_up: BackedUp, scratch: Path
) -> None:
    first = backed_up.restore(scratch / "restored", backed_up.before_drop)
    with first.journal().step("check backup"):
        pass
    other = backed_up.restore(scratch / "restored", None)
    with pytest.raises(PermanentError, match="journal of another restore"):
        restored(other, print)
    assert restored(replace(other, is_forced=True), print).verification.rows["loras"] == 9


def test_a_second_restore_into_the_same_target_waits_for_the_end_of_the_first(
    backed_up: BackedUp, scratch: Path
) -> None:
    request = backed_up.restore(scratch / "restored", None)
    path = scratch / "restored.restore.lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a running restore holds it
        with pytest.raises(PermanentError, match=r"Another restore to .* is running"):
            restored(request, print)
    assert path.exists()


KILLED_AT = {
    "while it checks": "check every file",
    "while it copies": "copy it to",
    "while it replays": "start PostgreSQL there",
    "while objects come back": "copy objects",
    "while it compares": "verify",
}


@pytest.fixture
def killed_restore(scratch: Path) -> Iterator[Path]:
    """Where a restore was killed; PostgreSQL and other children of it may live on."""
    yield scratch / "restored"
    for process in psutil.process_iter(["cmdline"]):
        if str(scratch) in " ".join(process.info["cmdline"] or []):
            process.kill()
            process.wait(10)


@pytest.mark.parametrize("words", KILLED_AT.values(), ids=KILLED_AT)
def test_a_restore_that_was_killed_goes_on_when_it_is_asked_for_again(
    backed_up: BackedUp, killed_restore: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    temp = killed_restore.with_name("tmp")
    temp.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    monkeypatch.setenv("TMPDIR", str(temp))
    request = backed_up.restore(killed_restore, backed_up.before_drop)
    child = os.fork()
    if child == 0:  # a process of its own, that dies as `kill -9` ends it

        def die() -> None:
            while words == KILLED_AT["while it copies"] and not request.target.has_staging():
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGKILL)

        def log(line: str) -> None:
            if re.match(words, line):
                threading.Thread(target=die).start()

        restored(request, log)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert not killed_restore.exists()
    said: list[str] = []
    report = restored(request, said.append)
    assert report.verification.problems == []
    if words not in {KILLED_AT["while it copies"], KILLED_AT["while it checks"]}:
        assert not any(line.startswith("check every file") for line in said)
    assert answers(backed_up, killed_restore, "SELECT answer FROM precious") == ["42"]
    assert not request.target.journal_path.exists()
    assert list(temp.iterdir()) == []

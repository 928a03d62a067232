"""Physical backups of a real PostgreSQL by the real Barman."""

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from influencerai_dagster.backup.database.backups import (
    BackupInfo,
    BackupKind,
    BackupStatus,
    backup_for,
    newest_whole,
)
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.barman_program import run_barman
from influencerai_dagster.backup.database.databases import check_same_server, prune, take_backup
from influencerai_dagster.backup.restore.recovery import choose_backup
from influencerai_dagster.db.data_dir import USER_UNDER_ROOT
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.local.postgres import PostgresServer, programs_dir
from influencerai_dagster.local.supervisor import Supervisor
from influencerai_dagster.processes import as_user
from influencerai_dagster_tests.testing.database_server import (
    DatabaseServer,
    execute,
    influencerai,
    is_received,
)
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until


@pytest.fixture(scope="module")
def full(database_server: DatabaseServer) -> BackupInfo:
    """A full backup of both databases with one row each."""
    for name in ("influencerai", "dagster"):
        database_server.execute(name, "CREATE TABLE kept AS SELECT 'before the backup' AS text")
    return database_server.barman.backup(BackupKind.FULL)


@contextmanager
def started(data_dir: Path, password: str) -> Iterator[PostgresServer]:
    """The server of a restored data directory, once it has replayed its WAL."""
    if os.geteuid() == 0:
        user = as_user(USER_UNDER_ROOT)
        for path in (data_dir, *data_dir.rglob("*")):
            os.chown(path, user["user"], user["group"], follow_symlinks=False)
    server = PostgresServer(data_dir, free_port(), password, is_durable=False)
    folder = data_dir.parent / f"{data_dir.name}-stack"
    folder.mkdir()
    with Supervisor([server.service(os.environ)], data_dir=folder, announce=print) as supervisor:
        supervisor.start()
        wait_until(
            lambda: execute(server.url(), "SELECT pg_is_in_recovery()") == [(False,)],
            "the server is promoted",
        )
        yield server


def test_a_backup_tells_what_it_is(full: BackupInfo) -> None:
    assert (full.kind, full.status) == (BackupKind.FULL, BackupStatus.DONE)
    assert full.size_bytes > 20 * 1000**2
    assert full.begin is not None
    assert full.end is not None
    assert timedelta(0) < datetime.now(UTC) - full.end < timedelta(minutes=5)
    assert full.seconds > 0
    assert full.begin_wal is not None
    assert full.end_wal is not None


def test_both_databases_come_back_as_they_were_before_a_table_was_dropped(
    database_server: DatabaseServer, full: BackupInfo, servers_dir: Path
) -> None:
    barman = database_server.barman
    database_server.execute("dagster", "INSERT INTO kept VALUES ('after the full backup')")
    incremental = barman.backup(BackupKind.INCREMENTAL)
    database_server.execute("dagster", "INSERT INTO kept VALUES ('in the WAL alone')")
    ((moment,),) = database_server.execute("postgres", "SELECT clock_timestamp()")
    assert isinstance(moment, datetime)
    database_server.execute("influencerai", "DROP TABLE kept")
    barman.switch_wal()

    chosen = backup_for(barman.list_backups(), moment)
    assert chosen == incremental
    assert chosen.parent_backup_id == full.backup_id
    assert chosen.size_bytes < full.size_bytes / 3
    into = servers_dir / "restored"
    choose_backup(barman, moment).copy(into)

    with started(into, database_server.postgres.password) as restored:
        rows = {
            name: execute(restored.url(name), "SELECT text FROM kept")
            for name in ("influencerai", "dagster")
        }
    assert rows == {
        "influencerai": [("before the backup",)],
        "dagster": [("before the backup",), ("after the full backup",), ("in the WAL alone",)],
    }


def test_without_a_target_the_last_row_that_was_received_comes_back(
    database_server: DatabaseServer, full: BackupInfo, servers_dir: Path
) -> None:
    assert full.is_whole
    word = f"the last word {uuid4()}"
    database_server.execute("dagster", f"CREATE TABLE last AS SELECT '{word}' AS text")
    wait_until(lambda: is_received(database_server.barman, word), "the WAL is received")
    into = servers_dir / "restored-last"
    choose_backup(database_server.barman, None).copy(into)
    with started(into, database_server.postgres.password) as restored:
        assert execute(restored.url("dagster"), "SELECT text FROM last") == [(word,)]


def test_the_password_is_in_no_file_and_on_no_command_line(
    database_server: DatabaseServer, full: BackupInfo
) -> None:
    password = database_server.postgres.password
    assert full.is_whole
    for path in database_server.barman.home.glob("*"):
        if path.is_file():
            assert password not in path.read_text()
    processes = database_server.receivers()
    assert len(processes) == 3
    assert not any(password in " ".join(process.cmdline()) for process in processes)


def test_barman_makes_no_folder_outside_of_its_home(database_server: DatabaseServer) -> None:
    barman = database_server.barman
    answer = run_barman(
        barman.write_config(), ["show-servers", barman.name], environment=barman.environment
    )
    folders = {
        name: value for name, value in answer[barman.name].items() if name.endswith("_directory")
    }
    del folders["data_directory"]  # the server's own
    assert "cloud_staging_directory" in folders
    home = str(barman.home.resolve())
    assert {name: path for name, path in folders.items() if path and home not in path} == {}


def test_a_second_backup_at_the_same_time_is_refused(
    database_server: DatabaseServer, full: BackupInfo
) -> None:
    barman = database_server.barman
    with (barman.home / "locks" / f".{barman.name}-backup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a running Barman holds it
        with pytest.raises(TransientError, match="Another backup"):
            barman.backup(BackupKind.FULL)
    assert full in barman.list_backups()


@pytest.fixture
def slow_programs(tmp_path: Path) -> Path:
    """PostgreSQL's programs, of which pg_basebackup copies 32 kB a second."""
    for program in programs_dir().iterdir():
        (tmp_path / program.name).symlink_to(program)
    slow = tmp_path / "pg_basebackup"
    slow.unlink()
    slow.write_text(f'#!/bin/sh\nexec {programs_dir()}/pg_basebackup "$@" --max-rate=32\n')
    slow.chmod(0o755)
    return tmp_path


def copying(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "pg_basebackup" in (process.info["cmdline"] or [""])[0]
        and str(folder) in " ".join(process.info["cmdline"])
    ]


def test_a_backup_that_was_killed_neither_blocks_nor_poisons_the_next(
    database_server: DatabaseServer, full: BackupInfo, slow_programs: Path
) -> None:
    barman = database_server.barman
    environment = {**database_server.environment, "BACKUP_POSTGRES_BIN_DIR": str(slow_programs)}
    process = subprocess.Popen(influencerai("backup", "now"), env=environment)
    base = barman.folder / "base"
    there = set(base.glob("*/data/*"))
    # With its first file it has said what it has to say: no broken pipe ends it.
    wait_until(lambda: copying(base) and set(base.glob("*/data/*")) - there, "its first file")
    with pytest.raises(TransientError, match="Another backup"):  # also of the command line
        barman.backup(BackupKind.FULL)
    for pid in (*(child.pid for child in psutil.Process(process.pid).children()), process.pid):
        os.kill(pid, signal.SIGKILL)  # Barman, and who asked
    process.wait()
    (orphan,) = copying(base)  # and would write on for hours
    (dead,) = [item for item in barman.list_backups() if item.status is BackupStatus.STARTED]
    # Barman names a backup by its second: the next would have the name of this one.
    wait_until(lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%S}" > dead.backup_id, "another second")

    taken = barman.backup(BackupKind.INCREMENTAL)

    wait_until(lambda: not orphan.is_running(), "the orphan ends")
    assert taken.parent_backup_id == full.backup_id
    assert dead.backup_id not in {item.backup_id for item in barman.list_backups()}
    assert not (base / dead.backup_id).exists()
    barman.verify(taken.backup_id)


def test_a_server_that_a_restore_moved_aside_is_not_backed_up_into_the_same_archive(
    database_server: DatabaseServer, full: BackupInfo
) -> None:
    barman = database_server.barman
    left = barman.folder / "wals" / "00000002.history"  # as if a restored one had run meanwhile
    left.write_text(f"1\t{full.end_lsn}\tbefore 2026-11-20\n")
    try:
        with pytest.raises(PermanentError, match="on timeline 1, which a restore has replaced"):
            barman.backup(BackupKind.FULL)
    finally:
        left.unlink()
    assert barman.backup(BackupKind.INCREMENTAL).is_whole


def test_without_a_receiver_the_refusal_says_what_is_missing(
    database_server: DatabaseServer, tmp_path: Path
) -> None:
    alone = replace(
        database_server.barman, home=tmp_path, slot_name="nobody_reads_it", connect_seconds=0.0
    )
    # Without any WAL Barman waits for some before it refuses.
    shutil.copytree(database_server.barman.folder / "wals", alone.folder / "wals")
    with pytest.raises(TransientError, match=r"receive wal running.*nobody_reads_it"):
        alone.backup(BackupKind.FULL)


def test_what_is_not_there_is_named(database_server: DatabaseServer) -> None:
    with pytest.raises(PermanentError, match="Unknown backup '20200101T000000'"):
        database_server.barman.delete("20200101T000000")


@pytest.fixture
def copied(database_server: DatabaseServer, full: BackupInfo, tmp_path: Path) -> BarmanServer:
    """The same backups in a folder of their own, to be broken."""
    barman = database_server.barman
    copy = replace(barman, home=tmp_path)
    for part in (f"base/{full.backup_id}", "meta", "wals", "streaming"):
        shutil.copytree(barman.folder / part, copy.folder / part)
    copy.verify(full.backup_id)
    return copy


@pytest.mark.parametrize("damage", ["cut off", "flipped", "removed"])
def test_a_damaged_file_is_named(copied: BarmanServer, full: BackupInfo, damage: str) -> None:
    path = copied.folder / "base" / full.backup_id / "data" / "global" / "1262"
    content = bytearray(path.read_bytes())
    if damage == "cut off":
        path.write_bytes(content[:-1])
    elif damage == "flipped":
        content[100] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(PermanentError, match=f"{full.backup_id} is broken: .*global/1262"):
        copied.verify(full.backup_id)


def test_a_changed_manifest_is_noticed(copied: BarmanServer, full: BackupInfo) -> None:
    path = copied.folder / "base" / full.backup_id / "data" / "backup_manifest"
    path.write_text(path.read_text().replace("global/1262", "global/1260"))
    with pytest.raises(PermanentError, match="its own checksum is wrong"):
        copied.verify(full.backup_id)


def test_missing_wal_is_named(
    database_server: DatabaseServer, copied: BarmanServer, full: BackupInfo
) -> None:
    assert full.begin_wal is not None
    assert copied.missing_wal(full.begin_wal) == []
    database_server.barman.switch_wal()
    newest = database_server.barman.archive_status().last_wal
    assert newest is not None
    assert newest > full.begin_wal
    for path in copied.folder.glob(f"wals/*/{full.begin_wal}"):
        path.unlink()
    assert copied.missing_wal(full.begin_wal) == [full.begin_wal]


def age(barman: BarmanServer, backup: BackupInfo, days: int) -> None:
    """Make Barman believe that a backup was taken earlier."""
    path = barman.folder / "meta" / f"{backup.backup_id}-backup.info"
    text = path.read_text()
    for moment in (backup.begin, backup.end):
        assert moment is not None
        text = text.replace(str(moment), str(moment - timedelta(days=days)))
    path.write_text(text)


def test_pruning_keeps_whatever_a_moment_of_the_window_needs(
    database_server: DatabaseServer, full: BackupInfo
) -> None:
    barman = database_server.barman
    old = barman.backup(BackupKind.FULL)
    on_old = barman.backup(BackupKind.INCREMENTAL)
    needed = barman.backup(BackupKind.FULL)
    age(barman, full, 60)
    age(barman, old, 50)
    age(barman, on_old, 49)
    age(barman, needed, 40)  # the oldest moments of the window stand on it
    before = {item.backup_id for item in barman.list_backups()}
    assert {full.backup_id, old.backup_id} <= set(prune(barman, is_dry_run=True))
    assert {item.backup_id for item in barman.list_backups()} == before
    prune(barman, is_dry_run=False)
    kept = {item.backup_id for item in barman.list_backups()}
    assert needed.backup_id in kept
    assert not kept & {full.backup_id, old.backup_id, on_old.backup_id}


def test_the_only_backup_stays_however_old_it_is(
    database_server: DatabaseServer,
) -> None:
    barman = database_server.barman
    newest = newest_whole(barman.list_backups())
    assert newest is not None
    for item in barman.list_backups():
        if item != newest:
            barman.delete(item.backup_id)
    age(barman, newest, 400)
    assert prune(barman, is_dry_run=False) == []
    assert [item.backup_id for item in barman.list_backups()] == [newest.backup_id]


def test_an_incremental_backup_without_a_full_one_becomes_a_full_one(
    database_server: DatabaseServer,
) -> None:
    barman = database_server.barman
    for item in barman.list_backups():
        barman.delete(item.backup_id)
    taken = take_backup(barman, BackupKind.INCREMENTAL)
    assert taken.backup is not None
    assert taken.backup.kind is BackupKind.FULL
    assert taken.reason == "there was no full backup"


def test_a_backup_that_was_taken_since_it_was_asked_for_is_enough(
    database_server: DatabaseServer,
) -> None:
    barman = database_server.barman
    asked_at = datetime.now(UTC)
    first = take_backup(barman, BackupKind.INCREMENTAL, unless_after=asked_at).backup
    again = take_backup(barman, BackupKind.INCREMENTAL, unless_after=asked_at)
    assert again.backup == first
    assert again.reason is not None
    newest = newest_whole(barman.list_backups())
    assert newest == first


def test_a_server_without_incremental_backups_has_its_wal_archived(
    database_server: DatabaseServer, full: BackupInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = "SELECT 160004, NULL"  # what PostgreSQL 16 answers
    monkeypatch.setattr("influencerai_dagster.backup.database.databases._FEATURES", features)
    barman = database_server.barman
    before, status = barman.list_backups(), barman.archive_status()
    assert full.begin_wal is not None
    taken = take_backup(barman, BackupKind.INCREMENTAL)
    assert taken.backup is None
    assert "before 17" in (taken.reason or "")
    assert barman.list_backups() == before
    assert (barman.archive_status().last_wal or "") > (status.last_wal or "")


def test_databases_on_two_servers_are_refused(
    database_server: DatabaseServer, postgres_url: str
) -> None:
    check_same_server(database_server.postgres.url("dagster"), [database_server.postgres.url()])
    with pytest.raises(PermanentError, match="are on 2 servers"):
        check_same_server(database_server.postgres.url(), [postgres_url])

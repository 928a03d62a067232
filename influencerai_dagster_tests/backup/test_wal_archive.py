"""WAL that was received and is not in the archive yet, because another process moves it there."""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from influencerai_dagster.backup.barman import BarmanServer
from influencerai_dagster.backup.restore_source import choose
from influencerai_dagster.backup.wal_archive import newest_change, unarchived
from influencerai_dagster.domain.backups import BackupInfo, BackupKind
from influencerai_dagster_tests.database_server import DatabaseServer, execute, wait_for

_SWITCH = "SELECT pg_walfile_name(pg_switch_wal())"


@pytest.fixture(scope="module")
def full(database_server: DatabaseServer) -> BackupInfo:
    return database_server.barman.backup(BackupKind.FULL)


@contextmanager
def another_archives(barman: BarmanServer) -> Iterator[None]:
    """Hold the lock of Barman's `archive-wal` for the time of the block."""
    path = barman.home / "locks" / f".{barman.name}-archive-wal.lock"
    with path.open("a") as lock:
        wait_for(lambda: is_locked_by_us(lock.fileno()))
        yield


def is_locked_by_us(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def received_segment(server: DatabaseServer) -> str:
    """Have a segment received as a whole, and the next one begun."""
    server.execute("postgres", "CREATE TABLE IF NOT EXISTS written ()")
    server.execute("postgres", "SELECT pg_logical_emit_message(true, 'test', 'before')")
    ((segment,),) = server.execute("postgres", _SWITCH)
    server.execute("postgres", "SELECT pg_logical_emit_message(true, 'test', 'after')")
    wait_for(lambda: segment in unarchived(server.barman.folder))
    return str(segment)


def test_a_switch_waits_for_another_process_that_archives(
    database_server: DatabaseServer, full: BackupInfo
) -> None:
    assert full.is_whole
    barman = database_server.barman
    switch = threading.Thread(target=barman.switch_wal)
    log = barman.home / "barman.log"
    with another_archives(barman):
        told = log.read_text().count("already running")
        switch.start()
        wait_for(lambda: log.read_text().count("already running") > told)
        received = unarchived(barman.folder)
    switch.join()
    assert received
    assert received & unarchived(barman.folder) == set()


def test_what_was_received_and_not_archived_is_restored_too(
    database_server: DatabaseServer, full: BackupInfo, servers_dir: Path
) -> None:
    with another_archives(database_server.barman):
        segment = received_segment(database_server)
    into = servers_dir / "restored-unarchived"
    database_server.barman.recover(full.backup_id, None, into, timeline=1)
    assert any(into.glob(f"*wal/{segment}"))


def test_a_segment_that_is_being_archived_is_no_damaged_one(
    database_server: DatabaseServer, full: BackupInfo
) -> None:
    archived = next(database_server.barman.folder.glob(f"wals/*/{full.begin_wal}"))
    draft = archived.with_name(f"{archived.name}.compressed")
    draft.write_bytes(archived.read_bytes()[:100])
    try:
        recovery = choose(database_server.barman, None, datetime.now(UTC))
        recovery.check(is_all_needed=True)
    finally:
        draft.unlink()


def test_what_the_server_writes_while_it_is_restored_elsewhere_need_not_come_back(
    database_server: DatabaseServer, full: BackupInfo, servers_dir: Path
) -> None:
    assert full.is_whole
    source = choose(database_server.barman, None, datetime.now(UTC))
    draft = servers_dir / "restored-meanwhile"
    source.copy(draft)
    for _ in range(3):
        received_segment(database_server)
    with source.opened(draft) as server:
        assert execute(server.url_of(database_server.postgres.url()), "SELECT 1") == [(1,)]


def test_a_file_that_was_moved_while_it_was_looked_at_is_left_out(tmp_path: Path) -> None:
    there = tmp_path / "000000010000000000000001"
    there.touch()
    gone = tmp_path / "000000010000000000000002.partial"
    assert newest_change([gone]) is None
    assert newest_change([gone, there]) == newest_change([there])

"""WAL that was received and is not in the archive yet, because another process moves it there."""

import fcntl
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pytest

from influencerai_dagster.backup.database.backups import BackupInfo, BackupKind
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.needed_wal import NeededWal
from influencerai_dagster.backup.database.wal import Timeline
from influencerai_dagster.backup.database.wal_archive import newest_change, unarchived
from influencerai_dagster.backup.restore.source import choose
from influencerai_dagster.backup.restore.wal_copy import copy_wal
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.database_server import DatabaseServer, execute
from influencerai_dagster_tests.testing.waiting import wait_until

_SWITCH = "SELECT pg_walfile_name(pg_switch_wal())"


@pytest.fixture(scope="module")
def full(database_server: DatabaseServer) -> BackupInfo:
    return database_server.barman.backup(BackupKind.FULL)


@contextmanager
def another_archives(barman: BarmanServer) -> Iterator[None]:
    """Hold the lock of Barman's `archive-wal` for the time of the block."""
    path = barman.home / "locks" / f".{barman.name}-archive-wal.lock"
    with path.open("a") as lock:
        wait_until(lambda: is_locked_by_us(lock.fileno()), "the lock is ours")
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
    wait_until(lambda: segment in unarchived(server.barman.folder), f"{segment} is received")
    return str(segment)


def test_a_switch_waits_for_another_process_that_archives(
    database_server: DatabaseServer, full: BackupInfo
) -> None:
    assert full.is_whole
    barman = database_server.barman
    switch = threading.Thread(target=barman.switch_wal)
    log = barman.home / "barman.log"
    with another_archives(barman):
        logged = log.read_text().count("already running")
        switch.start()
        wait_until(lambda: log.read_text().count("already running") > logged, "it is refused")
        received = unarchived(barman.folder)
    switch.join()
    assert received
    assert received & unarchived(barman.folder) == set()


def test_what_was_received_and_not_archived_is_restored_too(
    database_server: DatabaseServer, full: BackupInfo, servers_dir: Path
) -> None:
    assert full.is_whole
    with another_archives(database_server.barman):
        segment = received_segment(database_server)
    into = servers_dir / "restored-unarchived"
    choose(database_server.barman, None, datetime.now(UTC)).copy(into)
    assert any(into.glob(f"*wal/{segment}"))


def test_a_segment_that_is_being_archived_is_no_damaged_one(
    database_server: DatabaseServer, full: BackupInfo
) -> None:
    archived = next(database_server.barman.folder.glob(f"wals/*/{full.begin_wal}"))
    staging = archived.with_name(f"{archived.name}.compressed")
    staging.write_bytes(archived.read_bytes()[:100])
    try:
        recovery = choose(database_server.barman, None, datetime.now(UTC))
        recovery.check(is_all_needed=True)
    finally:
        staging.unlink()


def test_what_the_server_writes_while_it_is_restored_elsewhere_need_not_come_back(
    database_server: DatabaseServer, full: BackupInfo, servers_dir: Path
) -> None:
    assert full.is_whole
    source = choose(database_server.barman, None, datetime.now(UTC))
    staging = servers_dir / "restored-meanwhile"
    source.copy(staging)
    for _ in range(3):
        received_segment(database_server)
    with source.opened(staging) as server:
        assert execute(server.url_of(database_server.postgres.url()), "SELECT 1") == [(1,)]


def test_a_restore_that_goes_on_needs_no_more_than_was_there_when_it_copied(
    database_server: DatabaseServer, full: BackupInfo, servers_dir: Path
) -> None:
    assert full.is_whole
    staging = servers_dir / "restored-later"
    choose(database_server.barman, None, datetime.now(UTC)).copy(staging)
    for _ in range(3):
        received_segment(database_server)
    again = choose(database_server.barman, None, datetime.now(UTC))
    assert again.is_copied(staging)
    with again.opened(staging) as server:
        assert execute(server.url_of(database_server.postgres.url()), "SELECT 1") == [(1,)]


SEGMENT = "000000010000000000000007"


@pytest.fixture
def received(tmp_path: Path) -> Path:
    """Barman's folder, into which one segment is being received."""
    (tmp_path / "streaming").mkdir()
    (tmp_path / "wals" / SEGMENT[:16]).mkdir(parents=True)
    (tmp_path / "streaming" / f"{SEGMENT}.partial").write_bytes(b"what was written")
    return tmp_path


def test_a_segment_that_moves_on_while_it_is_copied_is_copied_from_where_it_is_now(
    received: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = received / "streaming" / f"{SEGMENT}.partial"
    whole, archived = partial.with_suffix(""), received / "wals" / SEGMENT[:16] / SEGMENT
    look = Path.open

    def look_too_late(path: Path, mode: str = "r") -> IO[Any]:
        if path == partial and partial.exists():
            partial.rename(whole)
        elif path == whole and whole.exists():
            whole.unlink()
            archived.write_bytes(gzip.compress(b"what was written"))
        return look(path, mode)

    monkeypatch.setattr(Path, "open", look_too_late)
    copy_wal(received, [SEGMENT], 16, received / "copied")
    assert archived.exists()
    assert (received / "copied" / SEGMENT).read_bytes() == b"what was written"


def test_half_a_segment_is_made_whole_and_one_that_is_nowhere_is_left_out(received: Path) -> None:
    (received / "streaming" / "00000002.history").write_text("1 0/7000000")
    copy_wal(received, ["000000010000000000000006", SEGMENT], 20, received / "copied")
    assert {path.name for path in (received / "copied").iterdir()} == {SEGMENT, "00000002.history"}
    assert (received / "copied" / SEGMENT).read_bytes() == b"what was written\0\0\0\0"


def test_what_is_left_of_a_partial_segment_counts_less_than_the_whole_one(received: Path) -> None:
    (received / "wals" / SEGMENT[:16] / SEGMENT).write_bytes(gzip.compress(b"all that was written"))
    copy_wal(received, [SEGMENT], 20, received / "copied")
    assert (received / "copied" / SEGMENT).read_bytes() == b"all that was written"


def test_a_segment_that_was_cut_off_is_named(received: Path) -> None:
    path = received / "wals" / SEGMENT[:16] / SEGMENT
    path.write_bytes(gzip.compress(b"all that was written")[:-4])
    with pytest.raises(PermanentError, match=f"{path} is damaged"):
        copy_wal(received, [SEGMENT], 20, received / "copied")


@pytest.mark.parametrize("ask", ["missing", "newest"])
def test_a_segment_that_is_archived_while_it_is_looked_for_is_not_missing(
    received: Path, full: BackupInfo, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    partial = received / "streaming" / f"{SEGMENT}.partial"
    list_files = Path.glob

    def list_slowly(folder: Path, pattern: str) -> Iterator[Path]:
        yield from list(list_files(folder, pattern))
        if partial.exists():
            partial.rename(received / "wals" / SEGMENT[:16] / SEGMENT)

    monkeypatch.setattr(Path, "glob", list_slowly)
    backup = full.model_copy(update={"begin_wal": SEGMENT})
    wal = NeededWal(received, backup, Timeline(1))
    if ask == "missing":
        assert wal.missing() == []
    else:
        assert wal.newest() == 7


def test_a_file_that_was_moved_while_it_was_looked_at_is_left_out(tmp_path: Path) -> None:
    there = tmp_path / "000000010000000000000001"
    there.touch()
    gone = tmp_path / "000000010000000000000002.partial"
    assert newest_change([gone]) is None
    assert newest_change([gone, there]) == newest_change([there])

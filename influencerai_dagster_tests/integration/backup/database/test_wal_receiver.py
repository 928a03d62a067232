"""The process that receives WAL: whoever dies, it goes on, and how far it is can be asked."""

import os
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psutil

from influencerai_dagster.backup.database.backups import WalLag, wal_problem
from influencerai_dagster.backup.database.wal_lag import read_wal_lag
from influencerai_dagster.backup.database.wal_position import choose_resume_position
from influencerai_dagster_tests.testing.database_server import DatabaseServer, is_received
from influencerai_dagster_tests.testing.waiting import wait_until


def write(server: DatabaseServer, word: str) -> None:
    server.execute("postgres", f"SELECT pg_logical_emit_message(true, 'test', '{word}')")


def named(server: DatabaseServer, *words: str) -> list[psutil.Process]:
    return [p for p in server.receivers() if any(word in p.cmdline() for word in words)]


def test_a_receiver_that_is_killed_is_started_again_and_misses_nothing(
    database_server: DatabaseServer,
) -> None:
    barman = [p for p in named(database_server, "receive-wal") if "backup" not in p.cmdline()]
    assert len(barman) == 1
    barman[0].send_signal(signal.SIGKILL)  # pg_receivewal lives on and has the slot
    write(database_server, "written while Barman was dead")
    wait_until(lambda: len(database_server.receivers()) == 3, "three processes receive")
    assert barman[0].pid not in {process.pid for process in database_server.receivers()}
    write(database_server, "written after that")
    for word in ("written while Barman was dead", "written after that"):
        wait_until(partial(is_received, database_server.barman, word), f"{word} is received")


def test_a_receiver_resumes_after_its_newest_segment_if_the_server_has_the_next(
    database_server: DatabaseServer,
) -> None:
    assert choose_resume_position(database_server.barman) is None


def test_a_receiver_resumes_at_the_oldest_segment_if_the_next_is_gone_and_loses_nothing(
    database_server: DatabaseServer, tmp_path: Path
) -> None:
    barman = replace(database_server.barman, home=tmp_path)
    half = barman.folder / "streaming" / "0000000100000F00000000AA.partial"
    half.parent.mkdir(parents=True)
    half.write_bytes(bytes(16 * 1024**2))
    os.utime(half, times=(1_000_000_000, 1_000_000_000))
    said = choose_resume_position(barman)
    assert "the server does not have 0000000100000F00000000AA, the next WAL segment" in (said or "")
    assert [path.name for path in barman.folder.glob("wals/*/*")] == [half.name]
    (empty,) = barman.folder.glob("streaming/*")
    names = database_server.execute("postgres", "SELECT min(name) FROM pg_ls_waldir()")
    assert [(empty.stem,)] == names
    assert barman.archive_status().received_at == datetime.fromtimestamp(1_000_000_000, UTC)
    assert choose_resume_position(barman) is None


def test_its_supervisor_starts_it_again_with_all_its_children(
    database_server: DatabaseServer,
) -> None:
    before = {process.pid for process in database_server.receivers()}
    (ours,) = named(database_server, "backup")
    ours.send_signal(signal.SIGKILL)
    write(database_server, "written while nobody looked after the receiver")
    wait_until(
        lambda: not before & {process.pid for process in database_server.receivers()},
        "the old processes end",
    )
    wait_until(lambda: len(database_server.receivers()) == 3, "three processes receive")
    wait_until(
        lambda: is_received(
            database_server.barman, "written while nobody looked after the receiver"
        ),
        "the WAL is received",
    )


def test_the_lag_is_that_of_the_receiver(database_server: DatabaseServer) -> None:
    barman = database_server.barman

    def receiving() -> WalLag | None:  # it may just connect again
        lag = read_wal_lag(barman.database_url, barman.slot_name, None)
        return lag if lag.is_receiving else None

    lag = wait_until(receiving, "the receiver is connected")
    assert lag is not None
    assert lag.lag_bytes is not None
    assert lag.lag_bytes < 16 * 1024**2
    assert wal_problem(lag) is None


def test_a_slot_that_nobody_reads_keeps_wal_and_is_a_problem(
    database_server: DatabaseServer,
) -> None:
    slot = "SELECT pg_create_physical_replication_slot('dead', true)"
    database_server.execute("postgres", slot)
    database_server.execute(
        "postgres", "SELECT pg_logical_emit_message(true, 'test', repeat('x', 100000))"
    )
    try:
        since = datetime.now(UTC) - timedelta(minutes=3)
        lag = read_wal_lag(database_server.barman.database_url, "dead", since)
    finally:
        database_server.execute("postgres", "SELECT pg_drop_replication_slot('dead')")
    assert not lag.is_receiving
    assert lag.retained_bytes > 100_000
    assert lag.lag_seconds is not None
    assert 180 <= lag.lag_seconds < 200
    assert "WAL is not received since 18" in (wal_problem(lag) or "")


def test_a_slot_that_is_not_there_is_a_problem(database_server: DatabaseServer) -> None:
    lag = read_wal_lag(database_server.barman.database_url, "never_made", None)
    assert "the replication slot does not exist" in (wal_problem(lag) or "")

"""Which backup a moment needs, what is due, and what is too old."""

from datetime import UTC, datetime, timedelta

import pytest

from influencerai_dagster.backup.database.backups import (
    BackupInfo,
    BackupKind,
    BackupStatus,
    WalLag,
    backup_for,
    due_kind,
    newest_whole,
    too_old,
    wal_problem,
)
from influencerai_dagster.backup.database.wal import segment_name

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
FULL, INCREMENTAL, DUMP = BackupKind.FULL, BackupKind.INCREMENTAL, BackupKind.DUMP


def backup(
    kind: BackupKind, hours_ago: float, status: BackupStatus = BackupStatus.DONE
) -> BackupInfo:
    end = NOW - timedelta(hours=hours_ago)
    return BackupInfo(backup_id=f"{end:%Y%m%dT%H%M%S}", kind=kind, status=status, end=end)


@pytest.mark.parametrize(
    ("backups", "due"),
    [
        pytest.param([], FULL, id="nothing was ever taken"),
        pytest.param([backup(FULL, 10)], INCREMENTAL, id="an incremental one was missed"),
        pytest.param([backup(FULL, 26)], FULL, id="a full one was missed"),
        pytest.param([backup(FULL, 26), backup(INCREMENTAL, 1)], FULL, id="only the full one is"),
        pytest.param([backup(FULL, 10), backup(INCREMENTAL, 4)], None, id="all is well"),
        pytest.param([backup(FULL, 6.3)], None, id="the schedule is a little late"),
        pytest.param([backup(FULL, 1, BackupStatus.FAILED)], FULL, id="a failed one is none"),
        pytest.param([backup(FULL, 1, BackupStatus.STARTED)], FULL, id="a killed one is none"),
    ],
)
def test_what_was_missed_is_due(backups: list[BackupInfo], due: BackupKind | None) -> None:
    assert due_kind(backups, NOW) == due


@pytest.mark.parametrize(("hours", "due"), [(1, None), (7, DUMP), (30, DUMP)])
def test_where_there_are_dumps_alone_a_dump_is_due(hours: float, due: BackupKind | None) -> None:
    assert due_kind([backup(DUMP, hours)], NOW, full_kind=DUMP) == due


def test_where_wal_is_all_there_is_between_full_backups_none_is_due_or_too_old() -> None:
    backups = [backup(FULL, 20)]
    assert due_kind(backups, NOW, has_incremental=False) is None
    assert too_old(backups, NOW, has_incremental=False) == []
    assert due_kind([backup(FULL, 26)], NOW, has_incremental=False) is FULL


def test_every_objective_that_is_missed_is_named_with_its_age() -> None:
    assert too_old([backup(FULL, 30), backup(INCREMENTAL, 8)], NOW) == [
        "the newest full backup is 30.0 h old, allowed are 24.0 h",
        "the newest backup of any kind is 8.0 h old, allowed are 6.0 h",
    ]
    assert too_old([], NOW) == ["there is no full backup", "there is no backup of any kind"]
    assert too_old([backup(FULL, 24.9), backup(INCREMENTAL, 6.9)], NOW) == []


def test_what_is_due_is_asked_for_before_it_is_too_old() -> None:
    for minutes in range(0, 40 * 60, 5):
        backups = [backup(FULL, minutes / 60)]
        if too_old(backups, NOW):
            assert due_kind(backups, NOW) is not None


def test_a_moment_is_restored_from_the_newest_backup_that_was_whole_by_then() -> None:
    full, incremental = backup(FULL, 10), backup(INCREMENTAL, 4)
    broken = backup(FULL, 3, BackupStatus.FAILED)
    listed = [incremental, broken, full]
    assert backup_for(listed, NOW) == incremental
    assert backup_for(listed, NOW - timedelta(hours=5)) == full
    assert backup_for(listed, NOW - timedelta(hours=11)) is None
    assert newest_whole(listed, FULL) == full


def test_the_order_of_backups_is_that_of_their_wal_and_no_clock_or_id_changes_it() -> None:
    first = in_wal("20261130T142740", 4, hours_ago=2.0)
    later = in_wal("20261130T100131", 9, hours_ago=3.0)  # the clock was set back by more than that
    after_restore = in_wal("20261130T090000", 2, timeline=2, hours_ago=4.0)
    assert newest_whole([later, first]) == later
    assert newest_whole([after_restore, later, first]) == after_restore
    assert backup_for([first, later], NOW - timedelta(hours=1)) == later  # shown twice: the later
    assert backup_for([first, later], NOW - timedelta(hours=2.5)) == later


def in_wal(
    backup_id: str,
    segment: int,
    *,
    hours_ago: float,
    timeline: int = 1,
    kind: BackupKind = FULL,
    parent: str | None = None,
) -> BackupInfo:
    """A backup that took one segment of WAL."""
    return BackupInfo(
        backup_id=backup_id,
        kind=INCREMENTAL if parent else kind,
        status=BackupStatus.DONE,
        end=NOW - timedelta(hours=hours_ago),
        begin_wal=segment_name(timeline, segment),
        end_wal=segment_name(timeline, segment),
        end_lsn=f"0/{segment * 16 + 1:X}00000",
        parent_backup_id=parent,
    )


def test_a_backup_of_a_time_to_come_is_no_reason_to_take_none() -> None:
    ahead = [backup(FULL, -48), backup(INCREMENTAL, -47)]
    assert due_kind(ahead, NOW) is FULL
    assert "was the clock set back?" in " ".join(too_old(ahead, NOW))
    assert too_old([*ahead, backup(FULL, 1)], NOW) == []
    assert due_kind([*ahead, backup(FULL, 1)], NOW) is None
    assert due_kind([backup(FULL, -0.1)], NOW) is None  # clocks of two machines differ a little


@pytest.mark.parametrize(
    ("lag", "words"),
    [
        ((True, 0, 0.0), None),
        ((True, 5000, 9.0), None),
        ((True, 5000, 301.0), "5,000 bytes and 301 s behind"),
        ((False, 5000, 60.0), "WAL is not received since 60 s"),
        ((False, 5000, None), "WAL is not received: the server keeps"),
        ((False, None, None), "the replication slot does not exist"),
    ],
)
def test_a_stream_of_wal_that_stands_still_is_a_problem(
    lag: tuple[bool, int | None, float | None], words: str | None
) -> None:
    found = wal_problem(
        WalLag(is_receiving=lag[0], lag_bytes=lag[1], lag_seconds=lag[2], retained_bytes=7)
    )
    assert (found is None) if words is None else (words in (found or ""))

"""Which backup a moment needs, what is due, and what is too old."""

from datetime import UTC, datetime, timedelta

import pytest

from influencerai_dagster.domain.backups import (
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


@pytest.mark.parametrize(
    ("lag", "words"),
    [
        ((True, 0, 0.0), None),
        ((True, 5000, 9.0), None),
        ((True, 5000, 301.0), "5,000 bytes and 301 s behind"),
        ((False, 5000, 60.0), "nobody receives WAL since 60 s"),
        ((False, 5000, None), "nobody receives WAL: the server keeps"),
        ((False, None, None), "the replication slot is not there"),
    ],
)
def test_a_stream_of_wal_that_stands_still_is_a_problem(
    lag: tuple[bool, int | None, float | None], words: str | None
) -> None:
    found = wal_problem(
        WalLag(is_receiving=lag[0], lag_bytes=lag[1], lag_seconds=lag[2], retained_bytes=7)
    )
    assert (found is None) if words is None else (words in (found or ""))

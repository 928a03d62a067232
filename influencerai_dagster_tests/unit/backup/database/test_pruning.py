"""No backup is deleted that a moment of the window needs, nor with WAL that another one needs."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.backup.database.backups import BackupInfo, BackupKind, BackupStatus
from influencerai_dagster.backup.database.pruning import deletable, losing_wal_by_deletion, obsolete
from influencerai_dagster.backup.database.wal import segment_name

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
WINDOW = timedelta(days=30)


def taken(
    backup_id: str, segment: int, *, days_ago: float, parent: str | None = None, whole: bool = True
) -> BackupInfo:
    return BackupInfo(
        backup_id=backup_id,
        kind=BackupKind.INCREMENTAL if parent else BackupKind.FULL,
        status=BackupStatus.DONE if whole else BackupStatus.FAILED,
        end=NOW - timedelta(days=days_ago),
        begin_wal=segment_name(1, segment),
        end_wal=segment_name(1, segment) if whole else None,
        end_lsn=f"0/{segment:X}000148" if whole else None,
        parent_backup_id=parent,
    )


def test_a_full_backup_goes_once_the_next_one_is_older_than_the_window() -> None:
    days = {"a": 60, "b": 40, "c": 31.5, "d": 30.5, "e": 1}
    backups = [taken(name, number, days_ago=days[name]) for number, name in enumerate("abcde")]
    assert obsolete(reversed(backups), WINDOW, NOW) == ["a", "b"]
    assert obsolete(backups[:1], WINDOW, NOW) == []


def test_a_clock_that_was_wrong_for_a_while_makes_nothing_obsolete_that_is_needed() -> None:
    of_1970 = taken("19700101T000000", 7, days_ago=20_000)
    backups = [taken("a", 5, days_ago=3), of_1970, taken("b", 9, days_ago=1)]
    assert obsolete(backups, WINDOW, NOW) == []
    ahead = taken("20990101T000000", 7, days_ago=-20_000)
    assert obsolete([taken("a", 5, days_ago=40), ahead], WINDOW, NOW) == []


def test_a_killed_backup_whose_name_sorts_first_is_not_deleted_with_the_wal_of_others() -> None:
    local = taken("20261130T230000", 4, days_ago=0.2)  # named in Tokyo
    newer = taken("20261130T150000", 9, days_ago=0.1)  # in UTC
    dead = taken("20261130T143000", 8, days_ago=0.1, whole=False)
    assert losing_wal_by_deletion([local, newer, dead], dead.backup_id) == [local]
    assert losing_wal_by_deletion([newer, dead], dead.backup_id) == []
    assert losing_wal_by_deletion([newer, dead], "unknown") == []


def test_what_would_rob_another_waits_until_that_is_gone() -> None:
    oldest = taken("20261001T000000", 1, days_ago=60)
    full = taken("20261002T142740", 4, days_ago=50)
    on_full = taken("20261002T100131", 9, days_ago=50, parent=full.backup_id)  # in New York
    newest = taken("20261101T000000", 12, days_ago=20)
    backups = [oldest, full, on_full, newest]
    assert losing_wal_by_deletion(backups, oldest.backup_id) == [full]
    assert deletable(backups, [oldest.backup_id]) == []
    in_order = [full.backup_id, oldest.backup_id]
    assert deletable(backups, in_order) == in_order


def barman_deletes(backups: list[BackupInfo], backup_id: str) -> tuple[list[BackupInfo], int]:
    """Delete as Barman does; return what is left, and the first segment that is not removed."""
    left, first = list(backups), 0
    children = [item for item in backups if item.parent_backup_id == backup_id]
    for gone in [*children, *(item for item in backups if item.backup_id == backup_id)]:
        left.sort(key=lambda item: item.backup_id)
        index = left.index(gone)
        if index == 0:
            until = left[1] if len(left) > 1 else gone
            first = max(first, int((until.begin_wal or "")[-8:], 16))
        left.remove(gone)
    return left, first


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6, unique=True))
def test_whatever_the_order_of_names_what_is_deletable_takes_no_wal_that_is_needed(
    names: list[int], wanted: list[int]
) -> None:
    backups = [
        taken(str(name), 10 + number, days_ago=40 - number, parent=str(names[0]) * (number == 1))
        for number, name in enumerate(names)
    ]
    backups = [
        item.model_copy(update={"parent_backup_id": item.parent_backup_id or None})
        for item in backups
    ]
    for backup_id in deletable(backups, [str(names[number]) for number in wanted]):
        if backup_id not in {item.backup_id for item in backups}:
            continue  # it went with the one it stood on
        backups, first = barman_deletes(backups, backup_id)
        assert all(int((item.begin_wal or "")[-8:], 16) >= first for item in backups)

"""Backups whose names are not in the order in which they were taken, by the real Barman.

Their names are local times: of a shell in another time zone, of another side of a daylight saving
change, of a clock that was set back.
"""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from influencerai_dagster.backup.database.backups import (
    BackupInfo,
    BackupKind,
    BackupStatus,
    newest_whole,
)
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.barman_program import run_barman
from influencerai_dagster.backup.database.databases import prune
from influencerai_dagster.backup.restore.recovery import choose_backup
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster_tests.integration.backup.database.test_barman import age, started
from influencerai_dagster_tests.testing.database_server import (
    SMALL_WAL,
    DatabaseServer,
    execute,
    influencerai,
    running_database_server,
)

EAST, WEST = "Asia/Tokyo", "Pacific/Honolulu"


@pytest.fixture(scope="module")
def server(servers_dir: Path) -> Iterator[DatabaseServer]:
    with running_database_server(servers_dir / "clocks", SMALL_WAL) as server:
        server.execute("dagster", "CREATE TABLE kept (text text)")
        yield server


@pytest.fixture(scope="module")
def moments(server: DatabaseServer) -> dict[str, datetime]:
    """Take backups under one clock after the other; return a moment after each of them."""
    barman, found = server.barman, {}

    def note(word: str) -> None:
        server.execute("dagster", f"INSERT INTO kept VALUES ('{word}')")  # noqa: S608 - our words
        ((moment,),) = server.execute("postgres", "SELECT clock_timestamp()")
        assert isinstance(moment, datetime)
        found[word] = moment
        barman.switch_wal()

    barman.backup(BackupKind.FULL)
    note("full in UTC")
    command = influencerai("backup", "now", "--incremental", "--no-objects")
    environment = {**server.environment, "TZ": "America/New_York"}
    subprocess.run(command, env=environment, check=True)
    note("incremental of a shell in New York")
    of_local_time(barman, EAST)
    note("full of local time, in Tokyo")
    barman.backup(BackupKind.INCREMENTAL)
    note("incremental in UTC on that of Tokyo")
    of_local_time(barman, WEST)
    note("full whose name sorts before all others")
    return found


def of_local_time(barman: BarmanServer, time_zone: str) -> None:
    """Take a full backup whose name is local time, as all were once, or as a clock gives it."""
    environment = {**barman.environment, "TZ": time_zone}
    run_barman(barman.write_config(), ["backup", barman.name], environment=environment)
    barman.switch_wal()
    run_barman(
        barman.write_config(),
        ["check-backup", barman.name, min_or_max_id(barman, time_zone)],
        environment=environment,
    )


def min_or_max_id(barman: BarmanServer, time_zone: str) -> str:
    ids = [backup.backup_id for backup in barman.list_backups()]
    return max(ids) if time_zone == EAST else min(ids)


def whole(barman: BarmanServer) -> list[BackupInfo]:
    return [backup for backup in barman.list_backups() if backup.is_whole]


def missing(barman: BarmanServer) -> dict[str, int]:
    """The number of WAL segments that are gone since each backup that lacks some."""
    lost = {
        backup.backup_id: len(barman.missing_wal(backup.begin_wal or ""))
        for backup in whole(barman)
    }
    return {backup_id: number for backup_id, number in lost.items() if number}


def test_a_shell_in_another_time_zone_names_its_backup_in_utc(
    server: DatabaseServer, moments: dict[str, datetime]
) -> None:
    full, of_new_york = server.barman.list_backups()[:2]
    assert of_new_york.parent_backup_id == full.backup_id
    assert full.backup_id < of_new_york.backup_id
    named = datetime.strptime(of_new_york.backup_id, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    assert abs(named - moments["incremental of a shell in New York"]) < timedelta(minutes=5)


def test_no_backup_of_any_clock_takes_wal_from_another(
    server: DatabaseServer, moments: dict[str, datetime]
) -> None:
    barman = server.barman
    found = whole(barman)
    assert len(found) == len(moments)
    assert [item.backup_id for item in found] != sorted(item.backup_id for item in found)
    assert found[3].parent_backup_id == found[2].backup_id  # the newest full one, not the last name
    assert newest_whole(found) == found[-1]
    assert found[-1].backup_id == min(item.backup_id for item in found)
    assert missing(barman) == {}
    for number, moment in enumerate(moments.values()):
        assert choose_backup(barman, moment).backup == found[number]


def test_a_moment_between_backups_whose_names_are_out_of_order_comes_back(
    server: DatabaseServer, moments: dict[str, datetime], servers_dir: Path
) -> None:
    into = servers_dir / "restored-of-clocks"
    words = list(moments)[:4]
    choose_backup(server.barman, moments[words[-1]]).copy(into)
    with started(into, server.postgres.password) as restored:
        rows = execute(restored.url("dagster"), "SELECT text FROM kept")
    assert rows == [(word,) for word in words]


def test_a_failed_backup_whose_name_sorts_first_is_removed_without_wal(
    server: DatabaseServer, moments: dict[str, datetime]
) -> None:
    assert moments
    barman = server.barman
    # The next one by name is not the oldest of those that are left.
    failed = "20000101T000000"
    model = whole(barman)[-1]
    info = barman.folder / "meta" / f"{model.backup_id}-backup.info"
    text = info.read_text().replace("status=DONE", "status=FAILED")
    (barman.folder / "meta" / f"{failed}-backup.info").write_text(text)
    (barman.data_dir(failed) / "base").mkdir(parents=True)
    assert barman.remove_unfinished() == [failed]
    assert not barman.data_dir(failed).exists()
    assert missing(barman) == {}
    with pytest.raises(PermanentError, match=f"{failed} is not deleted: .*would remove WAL"):
        barman.delete(failed)
    (left,) = [item for item in barman.list_backups() if item.status is BackupStatus.FAILED]
    assert left.backup_id == failed
    (barman.folder / "meta" / f"{failed}-backup.info").unlink()


def test_a_name_that_is_taken_is_not_written_into(
    server: DatabaseServer, moments: dict[str, datetime]
) -> None:
    assert moments
    barman = server.barman
    soon = f"{datetime.now(UTC) + timedelta(seconds=30):%Y%m%dT%H%M%S}"
    info = barman.folder / "meta" / f"{whole(barman)[-1].backup_id}-backup.info"
    taken = barman.folder / "meta" / f"{soon}-backup.info"
    taken.write_text(info.read_text())
    try:
        with pytest.raises(TransientError, match=rf"{soon} exists already.*clock was set back"):
            barman.backup(BackupKind.FULL)
    finally:
        taken.unlink()


def test_pruning_takes_no_wal_that_is_needed_and_deletes_what_it_kept_for_that_later(
    server: DatabaseServer, moments: dict[str, datetime]
) -> None:
    assert moments
    barman = server.barman
    utc, on_utc, tokyo, on_tokyo, honolulu = whole(barman)
    for backup, days in ((utc, 70), (on_utc, 70), (tokyo, 60), (on_tokyo, 60)):
        age(barman, backup, days)
    assert prune(barman, is_dry_run=False) == [utc.backup_id]
    assert [item.backup_id for item in whole(barman)] == [
        item.backup_id for item in (tokyo, on_tokyo, honolulu)
    ]
    assert missing(barman) == {}
    age(barman, honolulu, 40)
    prune(barman, is_dry_run=False)
    assert [item.backup_id for item in whole(barman)] == [honolulu.backup_id]
    assert missing(barman) == {}

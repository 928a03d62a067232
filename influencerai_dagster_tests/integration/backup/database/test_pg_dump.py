"""Dumps of both databases by the real pg_dump, and back by pg_restore."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from influencerai_dagster.backup.database.backups import BackupKind, BackupStatus
from influencerai_dagster.backup.database.databases import prune, take_backup
from influencerai_dagster.backup.database.pg_dump import PgDumps
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.local.postgres import PostgresServer, programs_dir
from influencerai_dagster_tests.testing.database_server import execute

NAMES = ("dumped_catalog", "dumped_dagster")


@pytest.fixture
def dumps(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[PgDumps]:
    for name in NAMES:
        execute(postgres_server.url(), f"CREATE DATABASE {name} STRATEGY FILE_COPY")
        execute(postgres_server.url(name), f"CREATE TABLE kept AS SELECT '{name}' AS text")
    urls = tuple(postgres_server.url(name) for name in NAMES)
    yield PgDumps(home=tmp_path, database_urls=urls, postgres_bin_dir=programs_dir())
    for name in NAMES:
        execute(postgres_server.url(), f"DROP DATABASE {name} WITH (FORCE)")


def test_a_dump_brings_both_databases_back(dumps: PgDumps, postgres_server: PostgresServer) -> None:
    taken = take_backup(dumps, BackupKind.DUMP).backup
    assert taken is not None
    assert (taken.kind, taken.status) == (BackupKind.DUMP, BackupStatus.DONE)
    assert dumps.list_backups() == [taken]
    dumps.verify(taken.backup_id)
    for name in NAMES:
        execute(postgres_server.url(name), "DROP TABLE kept")
        dump = str(dumps.folder / taken.backup_id / f"{name}.dump")
        program = str(programs_dir() / "pg_restore")
        subprocess.run([program, f"--dbname={postgres_server.url(name)}", dump], check=True)
        assert execute(postgres_server.url(name), "SELECT text FROM kept") == [(name,)]


@pytest.mark.parametrize("damage", ["cut off", "flipped", "removed"])
def test_a_damaged_dump_is_named(dumps: PgDumps, damage: str) -> None:
    backup_id = dumps.backup(BackupKind.DUMP).backup_id
    path = dumps.folder / backup_id / "dumped_dagster.dump"
    content = bytearray(path.read_bytes())
    if damage == "cut off":
        path.write_bytes(content[:-1])
    elif damage == "flipped":
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(PermanentError, match=f"{backup_id} is broken: dumped_dagster.dump"):
        dumps.verify(backup_id)


def test_a_dump_that_was_killed_does_not_count_and_is_removed(dumps: PgDumps) -> None:
    leftover = dumps.folder / "20260101T020000.unfinished"
    leftover.mkdir(parents=True)
    (leftover / "dumped_catalog.dump").write_bytes(b"half of it")
    assert dumps.list_backups() == []
    taken = dumps.backup(BackupKind.DUMP)
    assert [path.name for path in dumps.folder.iterdir()] == [taken.backup_id]


def test_only_dumps_that_are_older_than_the_window_are_deleted(dumps: PgDumps) -> None:
    taken = dumps.backup(BackupKind.DUMP)
    now = datetime.now(UTC)
    for days in (29, 40):
        old = dumps.folder / f"{now - timedelta(days=days):%Y%m%dT%H%M%S}"
        (dumps.folder / taken.backup_id).rename(old)
        record = (old / "dump.json").read_text()
        for moment in (taken.begin, taken.end):
            assert moment is not None
            text = moment.isoformat().replace("+00:00", "Z")
            earlier = (moment - timedelta(days=days)).isoformat().replace("+00:00", "Z")
            assert text in record
            record = record.replace(text, earlier)
        (old / "dump.json").write_text(record)
        if days == 29:
            taken = dumps.backup(BackupKind.DUMP)
    oldest, recent = dumps.list_backups()
    assert prune(dumps, is_dry_run=True) == [oldest.backup_id]
    assert dumps.list_backups() == [oldest, recent]
    prune(dumps, is_dry_run=False)
    assert dumps.list_backups() == [recent]


def test_a_server_that_is_away_is_a_passing_failure_and_leaves_no_backup(dumps: PgDumps) -> None:
    away = replace(dumps, database_urls=("postgresql://nobody@127.0.0.1:1/nothing",))
    with pytest.raises(TransientError, match=r"pg_dump of nothing failed: .*Connection refused"):
        away.backup(BackupKind.DUMP)
    assert away.list_backups() == []


def test_a_program_that_is_missing_is_named(dumps: PgDumps, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="pg_dump was not found"):
        replace(dumps, postgres_bin_dir=tmp_path / "nowhere").backup(BackupKind.DUMP)

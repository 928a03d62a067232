"""`influencerai restore` refuses what it cannot do before anything is written."""

import json
from pathlib import Path

import pytest
from dagster_postgres import DagsterPostgresStorage

from influencerai_dagster.db import migrate
from influencerai_dagster.local.postgres import SUPERUSER, PostgresServer, programs_dir
from influencerai_dagster_tests.testing.command_line import CommandLine
from influencerai_dagster_tests.testing.database_server import execute


@pytest.mark.parametrize("text", ["yesterday", "2026-11-20T03:00", "2026-11-20", ""])
def test_a_target_time_without_a_time_zone_is_refused(cli: CommandLine, text: str) -> None:
    answer = cli("restore", "--to", text, "--into", "new")
    assert answer.exit_code == 1
    assert "write it with its time zone, like 2026-11-20T03:00Z, or latest" in answer


def test_without_a_backup_it_says_where_it_looked(cli: CommandLine, tmp_path: Path) -> None:
    answer = cli("restore", "--to", "latest", "--into", "new")
    assert answer.exit_code == 1
    assert "There is no complete backup in" in answer
    assert str(tmp_path / "data" / "backups") in answer
    assert not (tmp_path / "new").exists()


def test_a_server_is_restored_to_from_dumps_after_a_plan(
    cli: CommandLine, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    names = ("command_line_catalog", "command_line_dagster")
    catalog_url, dagster_url = (postgres_server.url(name) for name in names)
    for url in (catalog_url, dagster_url):
        migrate.ensure_database(url)
    migrate.upgrade(catalog_url)
    storage = DagsterPostgresStorage(dagster_url)
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.dispose()
    for name, value in {
        "DATABASE_URL": catalog_url,
        "DAGSTER_DATABASE_URL": dagster_url,
        "BACKUP_DATABASE_MODE": "pg_dump",
        "BACKUP_HOME": str(tmp_path / "backups"),
        "BACKUP_POSTGRES_BIN_DIR": str(programs_dir()),
        "PGPASSWORD": postgres_server.password,
    }.items():
        cli.environment.setenv(name, value)
    into = f"postgresql://{SUPERUSER}@127.0.0.1:{postgres_server.port}/"
    command = ("restore", "--to", "latest", "--into", into)
    assert cli("backup", "now").exit_code == 0
    cli("backup", "objects")
    refused = cli(*command)
    assert refused.exit_code == 1
    assert "Database command_line_catalog on 127.0.0.1" in refused
    assert "is not empty" in refused
    try:
        planned = cli(*command, "--force", "--dry-run")
        assert "rename both at once" in planned
        assert "nothing was done: --dry-run" in planned
        done = cli(*command, "--force")
        assert done.exit_code == 0, done.text
        assert "moved aside       command_line_catalog_replaced_" in done.text
        assert f"restored to {' and '.join(names)} on 127.0.0.1" in done
        assert postgres_server.password not in done.text
    finally:
        found = "SELECT datname FROM pg_database WHERE datname LIKE 'command_line_%'"
        for row in execute(postgres_server.url(), found):
            execute(postgres_server.url(), f'DROP DATABASE "{row[0]}" WITH (FORCE)')


def test_a_url_that_is_none_is_refused(cli: CommandLine) -> None:
    cli.environment.setenv("BACKUP_DATABASE_MODE", "pg_dump")
    (Path("data/backups/dumps/20261120T030000")).mkdir(parents=True)
    record = {"begin": "2026-11-20T03:00:00Z", "end": "2026-11-20T03:00:01Z", "files": {}}
    Path("data/backups/dumps/20261120T030000/dump.json").write_text(json.dumps(record))
    answer = cli("restore", "--to", "latest", "--into", "postgresql:nowhere")
    assert answer.exit_code == 1
    assert "write postgresql://user@host:5432/" in answer


def test_programs_that_are_not_there_are_asked_for_by_their_setting(
    cli: CommandLine, tmp_path: Path
) -> None:
    cli.environment.setenv("BACKUP_POSTGRES_BIN_DIR", str(tmp_path))
    answer = cli("backup", "drill")
    assert answer.exit_code == 1
    assert "set BACKUP_POSTGRES_BIN_DIR" in answer


def test_a_drill_of_a_broken_backup_has_no_rto(cli: CommandLine) -> None:
    cli.environment.setenv("BACKUP_POSTGRES_BIN_DIR", str(programs_dir()))
    answer = cli("backup", "drill")
    assert answer.exit_code == 1
    assert "broken: There is no complete backup in" in answer
    assert "RTO none: nothing could be restored, RPO unknown" in answer

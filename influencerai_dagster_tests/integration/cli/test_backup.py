"""`influencerai backup` without Dagster: now, list, verify, prune."""

import pytest

from influencerai_dagster_tests.testing.command_line import CommandLine
from influencerai_dagster_tests.testing.database_server import DatabaseServer


@pytest.fixture
def backed_up(cli: CommandLine, database_server: DatabaseServer) -> CommandLine:
    """The command line with the settings of a server whose WAL is received."""
    for name, value in database_server.environment.items():
        if "DATABASE" in name or name.startswith("BACKUP"):
            cli.environment.setenv(name, value)
    return cli


def test_a_backup_is_taken_listed_and_verified(
    backed_up: CommandLine, database_server: DatabaseServer
) -> None:
    taken = backed_up("backup", "now")
    assert taken.exit_code == 0, taken.text
    more = backed_up("backup", "now", "--incremental")
    assert "incremental" in more
    full, incremental = database_server.barman.list_backups()[-2:]
    listed = backed_up("backup", "list")
    for word in (full.backup_id, incremental.backup_id, "DONE", "WAL up to 0000"):
        assert word in listed
    assert f"{incremental.backup_id} is complete" in backed_up("backup", "verify")
    assert f"{full.backup_id} is complete" in backed_up("backup", "verify", full.backup_id)


def test_a_broken_backup_ends_verify_with_its_name_and_file(
    backed_up: CommandLine, database_server: DatabaseServer
) -> None:
    backed_up("backup", "now")
    backup_id = database_server.barman.list_backups()[-1].backup_id
    base = database_server.barman.folder / "base" / backup_id / "data"
    content = (base / "PG_VERSION").read_bytes()
    (base / "PG_VERSION").write_bytes(b"17")
    answer = backed_up("backup", "verify")
    (base / "PG_VERSION").write_bytes(content)
    assert answer.exit_code == 1
    assert f"Backup {backup_id} is broken" in answer
    assert "PG_VERSION has 2 of 3 bytes" in answer


def test_what_pruning_would_delete_is_said_before(backed_up: CommandLine) -> None:
    answer = backed_up("backup", "prune", "--dry-run")
    assert "the recovery window is 30 days" in answer
    assert "deleting" not in answer


def test_a_backup_that_is_not_there_is_named(backed_up: CommandLine) -> None:
    answer = backed_up("backup", "verify", "20200101T000000")
    assert answer.exit_code == 1
    assert "There is no backup 20200101T000000" in answer


def test_dumps_are_taken_by_setting(backed_up: CommandLine) -> None:
    backed_up.environment.setenv("BACKUP_DATABASE_MODE", "pg_dump")
    backed_up.environment.setenv("BACKUP_HOME", "dumps here")
    assert "no backup in" in backed_up("backup", "list")
    assert "dump" in backed_up("backup", "now")
    assert "is complete" in backed_up("backup", "verify")
    assert "has no WAL" in backed_up("backup", "receive-wal")

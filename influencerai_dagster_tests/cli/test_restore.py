"""`influencerai restore` refuses what it cannot do before anything is written."""

from pathlib import Path

import pytest

from influencerai_dagster_tests.cli.conftest import CommandLine


@pytest.mark.parametrize("text", ["yesterday", "2026-11-20T03:00", "2026-11-20", ""])
def test_an_instant_without_a_time_zone_is_refused(cli: CommandLine, text: str) -> None:
    answer = cli("restore", "--to", text, "--into", "new")
    assert answer.exit_code == 1
    assert "write it with its time zone, like 2026-11-20T03:00Z, or latest" in answer


def test_without_a_backup_it_says_where_it_looked(cli: CommandLine, tmp_path: Path) -> None:
    answer = cli("restore", "--to", "latest", "--into", "new")
    assert answer.exit_code == 1
    assert "There is no whole backup in" in answer
    assert str(tmp_path / "data" / "backups") in answer
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", [("restore", "--to=latest", "--into=new"), ("backup", "drill")])
def test_dumps_alone_have_no_instant_to_restore(cli: CommandLine, command: tuple[str, ...]) -> None:
    cli.environment.setenv("BACKUP_DATABASE_MODE", "pg_dump")
    answer = cli(*command)
    assert answer.exit_code == 1
    assert "point-in-time recovery" in answer


def test_programs_that_are_not_there_are_asked_for_by_their_setting(
    cli: CommandLine, tmp_path: Path
) -> None:
    cli.environment.setenv("BACKUP_POSTGRES_BIN_DIR", str(tmp_path))
    answer = cli("backup", "drill")
    assert answer.exit_code == 1
    assert "set BACKUP_POSTGRES_BIN_DIR" in answer

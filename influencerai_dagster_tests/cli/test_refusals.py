"""What the operating system refuses ends a command with one line."""

from pathlib import Path

import pytest

from influencerai_dagster_tests.cli.conftest import CommandLine


@pytest.mark.parametrize("command", [("up",), ("tenant", "list")])
def test_a_data_dir_that_is_a_file_is_told_in_one_line(
    cli: CommandLine, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "a-file").touch()
    cli.environment.setenv("DATA_DIR", str(tmp_path / "a-file" / "data"))
    cli.environment.delenv("DATABASE_URL", raising=False)
    answer = cli(*command)
    assert answer.exit_code == 1
    assert "a file is where a folder is needed" in answer or "refused" in answer
    assert "Errno" not in answer

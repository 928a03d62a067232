"""What the operating system refuses ends a command with one line."""

from pathlib import Path

from influencerai_dagster_tests.testing.command_line import CommandLine


def test_a_data_dir_that_cannot_be_made_is_told_in_one_line(
    cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "a-file").touch()
    cli.environment.setenv("DATA_DIR", str(tmp_path / "a-file" / "data"))
    answer = cli("up")
    assert answer.exit_code == 1
    assert "cannot be used: a file is where a folder is needed: remove it" in answer
    assert "Errno" not in answer

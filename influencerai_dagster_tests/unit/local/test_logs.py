"""The folder of logs: what the supervisor notes is kept whatever becomes of the terminal."""

from pathlib import Path

import pytest

from influencerai_dagster.local.logs import Logs


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), ValueError("I/O operation on closed file")], ids=["pipe", "closed"]
)
def test_a_note_is_written_though_the_terminal_is_gone(tmp_path: Path, error: Exception) -> None:
    def announce(_line: str) -> None:
        raise error

    Logs(tmp_path, announce, max_bytes=1000).note("comfyui ended with code -9")
    assert "comfyui ended with code -9" in (tmp_path / "supervisor.log").read_text()


def test_a_note_is_told_though_its_file_cannot_be_written(tmp_path: Path) -> None:
    reported: list[str] = []
    Logs(tmp_path / "gone", reported.append, max_bytes=1000).note("comfyui ended")
    assert reported[0].endswith("comfyui ended")

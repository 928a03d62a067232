"""The folder of logs: what the supervisor notes is kept whatever becomes of the terminal."""

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from influencerai_dagster.local.logs import Logs, put_aside


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


def test_no_line_is_lost_or_doubled_by_rotation() -> None:
    with TemporaryDirectory(dir="/var/tmp") as folder:
        log = Path(folder) / "daemon.log"
        log.write_bytes(b"x" * 100_000)
        if not put_aside(log):
            pytest.skip("the file system of /var/tmp cannot remove the head of a file")
        written = log.read_bytes()
        stopping = threading.Event()

        def write() -> None:
            nonlocal written
            number = 0
            with log.open("ab", buffering=0) as file:
                while not stopping.is_set():
                    line = b"line %d\n" % number
                    file.write(line)
                    written += line
                    number += 1

        writer = threading.Thread(target=write)
        writer.start()
        kept = b""
        logs = Logs(Path(folder), print, max_bytes=20_000)
        while kept.count(b"\n") < 10_000:
            if log.stat().st_size > 20_000:
                logs.rotate()
                kept += log.with_suffix(".log.old").read_bytes()
        stopping.set()
        writer.join()
        assert kept + log.read_bytes() == written


def test_a_log_is_emptied_where_its_head_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "daemon.log"
    log.write_bytes(b"line\n" * 10_000)
    monkeypatch.setattr("influencerai_dagster.local.logs._COLLAPSE_RANGE", 0xFF)  # no such mode
    assert not put_aside(log)
    assert log.read_bytes() == b""
    assert log.with_suffix(".log.old").read_bytes() == b"line\n" * 10_000

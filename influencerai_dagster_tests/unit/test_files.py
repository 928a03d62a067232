"""Files are whole or not there, and what the system refuses is told in one line."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from influencerai_dagster.files import explained, give_readers_of, write_new, write_whole


def write_with_a_limit(path: Path, num_bytes: int, limit: int) -> str:
    """Write a file in a process that may write so many bytes at most."""
    program = f"""
import resource
from pathlib import Path
from influencerai_dagster.files import explained, write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    write_whole(Path({str(path)!r}), b"x" * {num_bytes})
except OSError as error:
    print(explained(error))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return done.stdout.decode()


@pytest.mark.parametrize("before", [None, b"before"], ids=["a new file", "a file that was there"])
def test_a_file_whose_writing_is_cut_short_changes_nothing(
    tmp_path: Path, before: bytes | None
) -> None:
    path = tmp_path / "model"
    if before is not None:
        path.write_bytes(before)
    reported = write_with_a_limit(path, 100_000, 4096)
    assert reported == (
        f"{path} cannot be used: this shell limits the size of files: run `ulimit -f unlimited` "
        "and try again\n"
    )
    assert [item.read_bytes() for item in tmp_path.iterdir()] == ([before] if before else [])


def test_only_its_owner_reads_what_is_written(tmp_path: Path) -> None:
    write_whole(tmp_path / "secret", b"word")
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR


def test_of_two_who_write_a_new_file_the_second_changes_nothing(tmp_path: Path) -> None:
    assert write_new(tmp_path / "secrets", b"first")
    assert not write_new(tmp_path / "secrets", b"second")
    assert [item.read_bytes() for item in tmp_path.iterdir()] == [b"first"]


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "inner_mode"),
    [(0o755, 0o644, 0o755), (0o750, 0o640, 0o750), (0o700, 0o600, 0o700)],
)
def test_a_file_has_the_readers_of_its_folder_whatever_the_umask_is(
    tmp_path: Path, folder_mode: int, file_mode: int, inner_mode: int
) -> None:
    tmp_path.chmod(folder_mode)
    (tmp_path / "demo").mkdir(mode=0o700)
    write_whole(tmp_path / "demo" / "lora", b"weights")
    give_readers_of(tmp_path, tmp_path / "demo", tmp_path / "demo" / "lora")
    assert stat.S_IMODE((tmp_path / "demo").stat().st_mode) == inner_mode
    assert stat.S_IMODE((tmp_path / "demo" / "lora").stat().st_mode) == file_mode


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.ENOTDIR, "a file is where a folder is needed"),
        (errno.EEXIST, "a file is where a folder is needed"),
        (errno.EISDIR, "a folder is where a file is needed"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EAGAIN, "ulimit -u"),
    ],
)
def test_what_the_system_refuses_is_told_with_what_to_do(code: int, words: str) -> None:
    reported = explained(OSError(code, os.strerror(code), "/data/logs"))
    assert reported.startswith("/data/logs cannot be used: ")
    assert words in reported
    assert "Errno" not in reported


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_another_user_is_told_with_both_users(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    path = str(tmp_path / "data" / "stack.env")
    reported = explained(PermissionError(errno.EACCES, "Permission denied", path))
    assert reported == (
        f"{path} cannot be used: {tmp_path} belongs to user 12345, and this program runs as user "
        f"root. Run it as 12345, give the other the folder (`sudo chown -R root {tmp_path}`), or "
        "choose another folder"
    )

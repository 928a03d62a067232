"""What is in DATA_DIR is for its owner alone."""

import os
import stat
from pathlib import Path

import pytest

from influencerai_dagster.local.private_folder import make_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_lets_others_read_nothing(tmp_path: Path) -> None:
    make_private(tmp_path / "data")
    assert mode(tmp_path / "data") == (0o701 if os.geteuid() == 0 else 0o700)


def test_what_an_earlier_version_left_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "assets" / "images").mkdir(parents=True)
    (tmp_path / "tool").touch()
    for path, before in (
        (tmp_path, 0o755),
        (tmp_path / "assets", 0o755),
        (tmp_path / "tool", 0o755),
    ):
        path.chmod(before)
    make_private(tmp_path)
    assert mode(tmp_path / "assets") == 0o700
    assert mode(tmp_path / "tool") == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_the_folder_of_another_user_is_left_to_it(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir(mode=0o750)
    os.chown(tmp_path / "postgres", 65534, 65534)
    make_private(tmp_path)
    assert mode(tmp_path / "postgres") == 0o750

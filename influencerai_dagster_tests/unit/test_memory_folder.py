"""Tests write into memory, if nobody chose another folder and there is enough of it."""

import os
import tempfile
from pathlib import Path

import pytest

from influencerai_dagster_tests.testing.memory_folder import use_memory_folder


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", "")  # and back to its value afterwards
    monkeypatch.delenv("TMPDIR")


def test_a_folder_with_enough_space_is_that_of_temporary_files(tmp_path: Path) -> None:
    assert use_memory_folder(tmp_path, needed_bytes=1)
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(tmp_path)


def test_a_folder_that_is_too_small_or_not_there_is_not_used(tmp_path: Path) -> None:
    assert not use_memory_folder(tmp_path, needed_bytes=10**18)
    assert not use_memory_folder(tmp_path / "missing", needed_bytes=1)
    assert "TMPDIR" not in os.environ


def test_a_folder_that_was_chosen_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/chosen")
    assert not use_memory_folder(tmp_path, needed_bytes=1)
    assert os.environ["TMPDIR"] == "/chosen"

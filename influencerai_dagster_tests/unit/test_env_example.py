"""`.env.example` says what the code does."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from influencerai_dagster.settings import VARIABLES, Settings, load_settings
from influencerai_dagster_tests.testing.paths import PROJECT_DIR

LINES = (PROJECT_DIR / ".env.example").read_text(encoding="utf-8").splitlines()
LISTED = re.compile(r"#([A-Z][A-Z0-9_]*)=(.*)")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_lists_every_setting_in_the_order_of_the_code() -> None:
    listed = [match[1] for line in LINES if (match := LISTED.fullmatch(line))]
    assert listed == list(VARIABLES)


def test_shows_the_defaults() -> None:
    text = "\n".join(line.removeprefix("#") for line in LINES if LISTED.fullmatch(line))
    Path(".env").write_text(text, encoding="utf-8")
    assert load_settings() == Settings()


def test_a_copy_changes_nothing() -> None:
    Path(".env").write_text("\n".join(LINES), encoding="utf-8")
    assert load_settings().variables_set() == {}


def test_says_in_a_line_what_each_setting_is_for() -> None:
    for before, line in pairwise(LINES):
        if LISTED.fullmatch(line):
            assert re.fullmatch(r"# \S.*\.", before), line

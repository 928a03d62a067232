"""`.env` means what Docker Compose takes it to mean, and a bad line is named."""

from pathlib import Path

import pytest

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.settings.env_file import read_env_file


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(".env")


def read(path: Path, text: str, **environment: str) -> dict[str, str]:
    path.write_text(text, encoding="utf-8")
    return read_env_file(path, environment)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A='pa${x}ss'", "pa${x}ss"),
        ("A='$HOME'", "$HOME"),
        ("export A = '$HOME' # why", "$HOME"),
        ("'A'='$HOME'", "$HOME"),
        ("A=$HOME/backups", "/home/me/backups"),
        ('A="${HOME}/backups"', "/home/me/backups"),
        ("A=${NOT_SET:-/srv}/backups", "/srv/backups"),
        ("A=${NOT_SET-/srv}/backups", "/srv/backups"),
        ("A=x${EMPTY-/srv}", "x"),
        ("A=x${EMPTY:-/srv}", "x/srv"),
        (r"A=pa\$x", "pa$x"),
        ("A=pa$", "pa$"),
        ("A=5$/image", "5$/image"),
        ("A=x # a comment", "x"),
        ("A=x#y", "x#y"),
    ],
)
def test_a_value_is_read_as_compose_reads_it(path: Path, line: str, value: str) -> None:
    assert read(path, f"{line}\n", HOME="/home/me", EMPTY="") == {"A": value}


def test_a_name_is_looked_for_in_the_environment_and_in_the_lines_above(path: Path) -> None:
    text = "ROOT=/srv\nUSER=file\nA=$ROOT/$USER\n"
    assert read(path, text, USER="shell")["A"] == "/srv/shell"


@pytest.mark.parametrize(
    "value", ["pa${word}ss", "pa$word", '"pa$word"', "pa$$word", "${word:?}", "$(id)"]
)
def test_a_dollar_that_names_nothing_is_refused_with_its_line(path: Path, value: str) -> None:
    with pytest.raises(PermanentError, match=r"^\.env, line 3: B has .* single quotes") as caught:
        read(path, f"A=1\n\nB={value}\n")
    assert value.strip('"') not in str(caught.value)
    assert "word" not in str(caught.value)


def test_a_file_of_powershell_is_named(path: Path) -> None:
    path.write_text("A=1\n", encoding="utf-16")
    with pytest.raises(PermanentError, match=r"^\.env is not UTF-8, it looks like UTF-16"):
        read_env_file(path, {})


def test_a_line_of_another_encoding_is_named(path: Path) -> None:
    path.write_bytes("A=1\n# Für die GPU\n".encode("cp1252"))
    with pytest.raises(PermanentError, match=r"^\.env, line 2: .* Save it as UTF-8"):
        read_env_file(path, {})


@pytest.mark.parametrize(
    "line", ["S3_KEY\N{FULLWIDTH EQUALS SIGN}x", "\u200bS3_KEY=x", "$env:S3_KEY=x"]
)
def test_a_line_whose_name_cannot_be_one_is_named(path: Path, line: str) -> None:
    path.write_text(f"A=1\n{line}\n", encoding="utf-8")
    with pytest.raises(PermanentError, match=r"^\.env, line 2 cannot be read. Write NAME=value"):
        read_env_file(path, {})


def test_a_quote_that_is_not_closed_is_named(path: Path) -> None:
    with pytest.raises(PermanentError, match=r"^\.env, line 2 cannot be read"):
        read(path, 'A=1\nB="x\nC=2\n')


def test_a_file_with_a_mark_windows_lines_and_comments_is_read(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf# mine\r\nexport A=\"x\"\r\nB=\r\nC='y'\r\n")
    assert read_env_file(path, {}) == {"A": "x", "C": "y"}


def test_a_folder_of_that_name_is_no_file(path: Path) -> None:
    path.mkdir()
    assert read_env_file(path, {}) == {}

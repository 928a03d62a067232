"""Every file that a docstring, a comment or a document names exists in this repository."""

import re

import pytest

from influencerai_dagster_tests.testing.named_files import missing_files
from influencerai_dagster_tests.testing.paths import PROJECT_DIR
from influencerai_dagster_tests.testing.texts import Kind, pieces, pieces_of

HERE = "influencerai_dagster/engines/comfyui/x.py"


def missing(text: str, path: str = HERE) -> list[str]:
    return [named.name for named in missing_files(pieces_of(path, text))]


@pytest.mark.parametrize(
    "name",
    [
        "no_such_module.py",
        "generation/no_such_module.py",
        "docs/no-such-page.md",
        "__init__/client.py",
        "recorded/comfyui/runs/no_such_run.json",
        "recorded/comfyui/no_such_*.json",
        "influencerai_dagster" + ".no_such_module",
        "influencerai_dagster_tests" + ".unit.no_such_module",
    ],
)
def test_a_file_that_does_not_exist_is_found(name: str) -> None:
    assert missing(f'"""It lives in {name}, point 2."""') == [name]
    assert missing(f"x = 1  # see {name}") == [name]
    assert missing(f"Read `{name}`.", "docs/x.md") == [name]
    assert missing(f"# see {name}\n", "Makefile") == [name]


@pytest.mark.parametrize(
    "name",
    [
        "client.py",
        "engines/kohya/command.py",
        "influencerai_dagster/errors.py",
        "docs/jobs.md",
        "protocols/kohya.md",
        "pyproject.toml",
        "recorded/kohya/args_*_network.json",
        "influencerai_dagster.errors",
        "influencerai_dagster.errors.PermanentError",
        "influencerai_dagster.engines.comfyui",
    ],
)
def test_a_file_that_exists_is_not_found(name: str) -> None:
    assert missing(f'"""It lives in {name}."""') == []


def test_a_bare_name_must_be_the_only_one_or_in_the_same_folder() -> None:
    assert missing('"""See captions.py."""') == ["captions.py"]
    assert missing('"""See captions.py."""', "influencerai_dagster/training/x.py") == []


def test_an_object_and_a_file_of_others_are_not_files_of_the_repository() -> None:
    text = "The objects manifest.json and images/<tenant>/x/output.json, library/train_util.py."
    assert missing(f'"""{text}"""') == []


def test_every_file_that_is_named_exists() -> None:
    assert [str(named) for named in missing_files(pieces())] == []


def test_every_folder_of_the_glossary_exists() -> None:
    text = (PROJECT_DIR / "docs" / "glossary.md").read_text(encoding="utf-8")
    folders = re.findall(r"`([\w/]+/)`", text)
    roots = (PROJECT_DIR, PROJECT_DIR / "influencerai_dagster")
    assert folders
    assert [name for name in folders if not any((root / name).is_dir() for root in roots)] == []


@pytest.mark.parametrize("name", ["comfyui", "kohya"])
def test_every_point_of_a_protocol_that_is_cited_exists(name: str) -> None:
    text = (PROJECT_DIR / "docs" / "protocols" / f"{name}.md").read_text(encoding="utf-8")
    points = {int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)}
    cited = {
        int(number)
        for piece in pieces()
        if piece.kind is not Kind.NAME
        for clause in re.findall(
            rf"protocols/{name}\.md,\s+points?((?:[\s,\d]|and|to)+)", piece.text
        )
        for number in re.findall(r"\d+", clause)
    }
    assert cited
    assert cited - points == set()

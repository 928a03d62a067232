"""The private words of this project are found, and stand nowhere but where they are allowed."""

import io
import tokenize

import pytest

from influencerai_dagster_tests.testing.private_words import (
    ALLOWED,
    Allowed,
    find,
    forbidden,
    found_in_repository,
)
from influencerai_dagster_tests.testing.texts import Kind, Piece, pieces_of


def words_in(text: str, path: str = "influencerai_dagster/x.py") -> list[str]:
    return [item.word for item in find(pieces_of(path, text))]


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("class DrainRules: ...", "drain"),
        ("def num_drains() -> int: ...", "drains"),
        ("def f(gave_way: bool) -> None: ...", "gave way"),
        ("self.job_ledger = 1", "ledger"),
        ("import json as news_hub", "news hub"),
        ('"""The fate of\nan object."""', "fate"),
        ('"""A module."""\nx = 1\n"""Kept while it\nlingers."""', "lingers"),
        ('raise ValueError(f"Job {1} has no picture")', "picture"),
        ("x = 1  # Renders a clip in\n", "clip"),
        ('"""It is put in place."""', "put in place"),
        ('"""The receiver begins\nanew."""', "anew"),
    ],
)
def test_a_private_word_is_found_in_names_docstrings_comments_and_texts(
    code: str, word: str
) -> None:
    assert words_in(code) == [word]


@pytest.mark.parametrize(
    "code",
    [
        "strength_clip = 1.0",
        '"""The spend ledger of a tenant."""',
        "session.drain()",
        '"""CLIP encodes the text prompt."""',
        '"""The lease is no longer held. There is no lease. It has no more than two."""',
        '"""Return them in turn."""',
        "newest, clipped, brainstorm = 1, 2, 3",
    ],
)
def test_an_ordinary_word_is_not_found(code: str) -> None:
    assert words_in(code) == []


def test_a_word_is_found_in_a_document_with_its_line() -> None:
    (found,) = find(pieces_of("docs/x.md", "# Title\n\nOne line.\nThe job\nledger.\n"))
    assert (found.path, found.line) == ("docs/x.md", 5)
    assert str(found) == "docs/x.md:5: document has “ledger”: write job queue"


@pytest.mark.parametrize("place", ALLOWED, ids=lambda place: f"{place.word} in {place.paths}")
def test_an_allowed_place_has_its_word(place: Allowed) -> None:
    assert any(place.covers(found) for found in found_in_repository())


def test_no_private_word_stands_where_it_is_not_allowed() -> None:
    assert [str(found) for found in forbidden()] == []


def test_a_piece_has_its_kind() -> None:
    code = '"""Module."""\nNumJobs = f"{1} jobs"  # a comment\n'
    assert {(piece.kind, piece.text) for piece in pieces_of("x.py", code)} == {
        (Kind.NAME, "x"),
        (Kind.NAME, "num jobs"),
        (Kind.DOCSTRING, "Module."),
        (Kind.STRING, "… jobs"),
        (Kind.COMMENT, "# a comment"),
    }
    assert Piece("x.py", 1, Kind.NAME, "x") in set(pieces_of("x.py", code))


def test_a_comment_is_found_where_python_finds_one() -> None:
    code = '''a = "# no" + '\\'# no'  # one\nb = """ "# no\n"""  # two\n# three "\nc = 4  # '\n'''
    pieces = pieces_of("x.py", code)
    found = [(piece.line, piece.text) for piece in pieces if piece.kind is Kind.COMMENT]
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    assert found == [(token.start[0], token.string) for token in comments]
    assert [text for _, text in found] == ["# one", "# two", '# three "', "# '"]

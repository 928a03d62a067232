"""The texts of the repository in pieces: names, docstrings, comments, strings, documents."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import groupby
from pathlib import Path

from influencerai_dagster_tests.testing.paths import PROJECT_DIR

FOLDERS = (
    "influencerai_dagster",
    "influencerai_dagster_tests",
    "benchmarks",
    "deploy",
    "docs",
)
_SUFFIXES = {".md", ".py", ".toml", ".yaml", ".yml"}
_COMMENT = re.compile(
    r"""
    (?:\"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}  # a string may hold a #
    | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')
    | (\#[^\n]*)
    """,
    re.DOTALL | re.VERBOSE,
)
"""Finds comments ten times faster than tokenize."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


class Kind(StrEnum):
    """What a piece of text is."""

    NAME = "name"
    DOCSTRING = "docstring"
    COMMENT = "comment"
    STRING = "string"
    DOCUMENT = "document"


@dataclass(frozen=True)
class Piece:
    """One text of the repository.

    Attributes:
        path: of its file, relative to the repository, with slashes.
        line: its first, from 1.
        text: a name as lower-case words, "lora weights" for "LoraWeights"; the values in an
            f-string as "…"; a paragraph of a document whole.
    """

    path: str
    line: int
    kind: Kind
    text: str


@cache
def repository_files() -> frozenset[str]:
    """Return the files of the repository, without those that runs and tools write."""
    top = [path for path in PROJECT_DIR.iterdir() if path.is_file()]
    below = [
        path for folder in FOLDERS for path in (PROJECT_DIR / folder).rglob("*") if path.is_file()
    ]
    kept = (path for path in (*top, *below) if "__pycache__" not in path.parts)
    return frozenset(
        {"data/README.md", *(path.relative_to(PROJECT_DIR).as_posix() for path in kept)}
    )


@cache
def pieces() -> tuple[Piece, ...]:
    """Return the texts of all files that people read; recorded traffic is not ours."""
    paths = [
        path
        for path in sorted(repository_files())
        if Path(path).suffix in _SUFFIXES or Path(path).name in {"Makefile", ".env.example"}
    ]
    return tuple(
        piece
        for path in paths
        if "/recorded/" not in path
        for piece in pieces_of(path, (PROJECT_DIR / path).read_text(encoding="utf-8"))
    )


def pieces_of(path: str, text: str) -> Iterator[Piece]:
    """Yield the pieces of one file."""
    if path.endswith(".py"):
        yield Piece(path, 1, Kind.NAME, words_of(Path(path).stem))
        yield from _code(path, ast.parse(text))
        for found in _COMMENT.finditer(text):
            if found[1]:
                line = text.count("\n", 0, found.start()) + 1
                yield Piece(path, line, Kind.COMMENT, found[1])
    else:
        numbered = enumerate(text.splitlines(), start=1)
        for is_text, group in groupby(numbered, key=lambda item: bool(item[1].strip())):
            if is_text:
                (first, _), *_ = lines = list(group)
                yield Piece(path, first, Kind.DOCUMENT, "\n".join(line for _, line in lines))


def _code(path: str, tree: ast.Module) -> Iterator[Piece]:
    nodes = list(ast.walk(tree))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    in_f_strings = {
        id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values
    }
    for node in nodes:
        if id(node) in in_f_strings:
            continue
        line = getattr(node, "lineno", 1)
        if name := _defined_name(node):
            yield Piece(path, line, Kind.NAME, words_of(name))
        elif isinstance(node, ast.JoinedStr):
            values = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
            yield Piece(path, line, Kind.STRING, "".join(map(str, values)))
        elif isinstance(node, ast.Constant) and id(node) in docstrings:
            yield Piece(path, line, Kind.DOCSTRING, str(node.value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Piece(path, line, Kind.STRING, node.value)


def _defined_name(node: ast.AST) -> str | None:
    """Return the name that a node defines; a name that is only used may be another project's."""
    match node:
        case ast.FunctionDef(name=str(name)) | ast.AsyncFunctionDef(name=str(name)):
            return name
        case ast.ClassDef(name=str(name)) | ast.Name(id=str(name), ctx=ast.Store()):
            return name
        case ast.arg(arg=str(name)) | ast.Attribute(attr=str(name), ctx=ast.Store()):
            return name
        case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
            return name
    return None


def words_of(name: str) -> str:
    """Return the words of a name in lower case, with spaces between them."""
    return " ".join(_WORD.findall(name)).lower()

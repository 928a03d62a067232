"""Find the files that docstrings, comments and documents name, and tell which do not exist.

A name counts if it ends in .py, .md, .toml, .yaml or .yml (`claims.py`, `queue/claims.py`), if it
is a path of another type below a folder of the repository (`recorded/kohya/oom_text.txt`), or if it
is a dotted module of a package, which strings name too. It must exist relative to the folder of the
text or one above it, to the package, to the tests or to docs/; or it must be the end of exactly one
path.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import PurePosixPath
from posixpath import normpath

from influencerai_dagster_tests.testing.texts import Kind, Piece, repository_files

_PATH = re.compile(
    r"(?<![\w/.<>{}$-])(?:\.\./)*(?:[\w*.-]+/)*[\w*-][\w*.-]*"
    r"\.(?:py|md|toml|yaml|yml|json|txt|raw|cmd|result)\b(?![/(<])"
)
_MODULE = re.compile(r"\b(?:influencerai_dagster(?:_tests)?|benchmarks)(?:\.\w+)+")
_OWN_TYPES = {".py", ".md", ".toml", ".yaml", ".yml"}
_ROOTS = ("", "influencerai_dagster", "influencerai_dagster_tests", "docs")
_RECORDED = "influencerai_dagster_tests/recorded"

NOT_OURS = {
    "library/*.py": "sd-scripts",
    "networks/*.py": "sd-scripts",
    "flux_train_network.md": "sd-scripts",
    "dagster/_core/*": "Dagster",
    "NNNN*": "stands for a number",
}
"""Names of files elsewhere, and whose they are."""


@dataclass(frozen=True)
class NamedFile:
    """A file that a text names."""

    path: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} names {self.name}, which does not exist"


def missing_files(texts: Iterable[Piece]) -> list[NamedFile]:
    """Return the files of this repository that the texts name and that do not exist."""
    return [named for piece in texts for named in _named_files(piece) if not _exists(named)]


def _named_files(piece: Piece) -> Iterator[NamedFile]:
    is_text = piece.kind in {Kind.DOCSTRING, Kind.COMMENT, Kind.DOCUMENT}
    for pattern in (_PATH, _MODULE) if is_text else (_MODULE,):
        for match in pattern.finditer(piece.text):
            line = piece.line + piece.text.count("\n", 0, match.start())
            named = NamedFile(piece.path, line, match[0])
            if pattern is _MODULE or _is_ours(named):
                yield named


def _is_ours(named: NamedFile) -> bool:
    if any(fnmatchcase(named.name, pattern) for pattern in NOT_OURS):
        return False
    if PurePosixPath(named.name).suffix in _OWN_TYPES:
        return True
    first, _, rest = named.name.partition("/")
    return bool(rest) and any(f"{root}/{first}".strip("/") in _folders() for root in _roots(named))


def _roots(named: NamedFile) -> list[str]:
    """Return the folders from which a path is looked for."""
    above = [folder.as_posix() for folder in PurePosixPath(named.path).parents]
    recorded = [f"{_RECORDED}/comfyui", f"{_RECORDED}/kohya"]
    return [*above, *_ROOTS, *(recorded if "/protocols/" in named.path else ())]


def _exists(named: NamedFile) -> bool:
    if "/" not in named.name and PurePosixPath(named.name).suffix not in _OWN_TYPES:
        return _is_module(named.name)
    paths = {normpath(f"{root}/{named.name}").lstrip("/") for root in _roots(named)}
    if any(fnmatchcase(file, path) for path in paths for file in _files_like(named.name)):
        return True
    return sum(file.endswith(f"/{named.name}") for file in repository_files()) == 1


def _is_module(name: str) -> bool:
    """Tell whether the dotted name begins with a module, or ends at a folder of modules."""
    parts = name.split(".")
    begins = ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]
    return begins[-1] in _folders() or any(f"{part}.py" in repository_files() for part in begins)


def _files_like(name: str) -> Iterable[str]:
    last = name.rsplit("/", 1)[-1]
    return repository_files() if "*" in last else _by_last_name().get(last, ())


@cache
def _by_last_name() -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for file in repository_files():
        files.setdefault(file.rsplit("/", 1)[-1], []).append(file)
    return files


@cache
def _folders() -> frozenset[str]:
    return frozenset(
        folder.as_posix() for file in repository_files() for folder in PurePosixPath(file).parents
    )

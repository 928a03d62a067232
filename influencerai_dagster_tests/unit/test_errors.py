"""The error tree: code chooses by class, and the tree in errors.py is the whole tree."""

import ast
import re

from influencerai_dagster import errors
from influencerai_dagster.errors import (
    InsufficientStorageError,
    ObjectNotFoundError,
    PermanentError,
    TransientError,
)
from influencerai_dagster_tests.testing.paths import PROJECT_DIR

PACKAGE_DIR = PROJECT_DIR / "influencerai_dagster"
_BRANCH_INDENT = len("    ├")


def test_a_full_disk_is_tried_again_and_a_lost_object_is_not() -> None:
    assert issubclass(InsufficientStorageError, TransientError)
    assert issubclass(ObjectNotFoundError, PermanentError)


def test_no_error_is_both_passing_and_permanent() -> None:
    assert not issubclass(TransientError, PermanentError)
    assert not issubclass(PermanentError, TransientError)


def classes_of_the_package() -> dict[str, tuple[str, str]]:
    """Return name → (parent, file) of every error that derives from one of errors.py."""
    found: dict[str, tuple[str, str]] = {}
    for path in PACKAGE_DIR.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and len(node.bases) == 1:
                parent = ast.unparse(node.bases[0])
                if parent == "InfluencerAIError" or hasattr(errors, parent):
                    found[node.name] = (parent, str(path.relative_to(PACKAGE_DIR)))
    return found


def classes_of_the_drawing() -> dict[str, tuple[str, str]]:
    """Return name → (parent, file) as the docstring of errors.py draws them."""
    found: dict[str, tuple[str, str]] = {}
    branch = name = ""
    for line in (errors.__doc__ or "").splitlines():
        drawn = re.match(r"(.*)── (\w+)", line)
        if drawn is not None:
            name = drawn[2]
            is_branch = len(drawn[1]) == _BRANCH_INDENT
            found[name] = ("InfluencerAIError" if is_branch else branch, "errors.py")
            branch = name if is_branch else branch
        home = re.search(r"\((\w+/\S+\.py)\)", line)
        if home is not None:
            found[name] = (found[name][0], home[1])
    return found


def test_the_tree_in_the_docstring_is_the_tree_of_the_code() -> None:
    assert classes_of_the_drawing() == classes_of_the_package()

"""A class name stands for one class in the whole package."""

import ast
from collections import defaultdict

from influencerai_dagster_tests.testing.paths import PROJECT_DIR


def test_no_two_classes_have_the_same_name() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((PROJECT_DIR / "influencerai_dagster").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{path.relative_to(PROJECT_DIR)}:{node.lineno}")
    assert found
    assert {name: places for name, places in found.items() if len(places) > 1} == {}

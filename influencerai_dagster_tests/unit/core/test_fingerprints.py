"""Content hashes: the same content is the same version, other content another."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.core.fingerprints import VERSION_LENGTH, fingerprint, sha256_hex

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def _reversed(value: Any) -> Any:
    """The same JSON with the keys of every object in the opposite order."""
    if isinstance(value, dict):
        return {key: _reversed(inner) for key, inner in reversed(value.items())}
    return [_reversed(inner) for inner in value] if isinstance(value, list) else value


@given(json_values)
def test_the_order_of_keys_does_not_matter(value: Any) -> None:
    assert fingerprint(value) == fingerprint(_reversed(value))


@given(json_values)
def test_a_value_keeps_its_version_over_json(value: Any) -> None:
    version = fingerprint(value)
    assert fingerprint(json.loads(json.dumps(value))) == version
    assert len(version) == VERSION_LENGTH
    assert set(version) <= set("0123456789abcdef")


@given(st.lists(st.integers(), min_size=2, unique=True))
def test_the_order_of_a_list_matters(values: list[int]) -> None:
    assert fingerprint(values) != fingerprint(values[::-1])


@given(json_values, json_values)
def test_other_content_has_another_version(one: Any, other: Any) -> None:
    texts = [json.dumps(value, sort_keys=True) for value in (one, other)]
    assert (fingerprint(one) == fingerprint(other)) == (texts[0] == texts[1])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [1.0, math.nan]])
def test_a_number_that_json_has_not_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(value)


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(TypeError):
        fingerprint({"at": object()})


def test_the_version_of_a_known_value_never_changes() -> None:
    assert fingerprint({"b": [1, 2.5, None], "a": "ü"}) == "91ff63a7ddb19a1b9c7a2e722d40ba9b"
    assert sha256_hex(b"abc").startswith("ba7816bf8f01cfea")

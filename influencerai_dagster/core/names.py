"""Write the error for an unknown name: which names there are, and which one was probably meant.

Tenants, influencers, datasets, LoRAs, backups, presets and fields of JSON all use it: a typo reads
the same everywhere.
"""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from influencerai_dagster.errors import UnknownNameError

_SHOWN_NAMES = 20
_SHOWN_LENGTH = 80
_COMPARED_LENGTH = 255
_JSON_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def unknown_name(
    problem: str, name: str, known: Iterable[str], *, plural: str, advice: str = ""
) -> UnknownNameError:
    """Return the error for a name that is not among the known ones.

    Args:
        problem: what is missing, "tenant 'demo' has no dataset 'bellla'".
        name: the unknown name.
        known: the names that there are.
        plural: what they are, "datasets".
        advice: what to do if none of them is meant; a sentence.
    """
    text = f"{problem}. {suggestion(name, known, plural=plural)}"
    return UnknownNameError(f"{text}. {advice}".rstrip(". "))


def suggestion(name: str, known: Iterable[str], *, plural: str) -> str:
    """Return which name was probably meant and which there are, without the last full stop."""
    names = sorted(set(known))
    if not names:
        return f"There are no {plural} yet"
    near = nearest(name, names)
    meant = f"Did you mean {near!r}? " if near is not None else ""
    listed = ", ".join(names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return f"{meant}The {plural} are {listed}" + (f" and {more} more" if more > 0 else "")


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name that was probably meant, whatever its case; None if none is close.

    Args:
        name: what was written.
        known: the names that there are.
        cutoff: how close it has to be, 0 to 1.
    """
    by_folded = {item.casefold(): item for item in known}
    close = get_close_matches(name[:_COMPARED_LENGTH].casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[close[0]] if close else None


def json_kind(value: object) -> str:
    """Return what a value is in JSON's words."""
    return _JSON_KINDS.get(type(value), "something else")


def field_problems(
    error: ValidationError,
    fields: Iterable[str],
    *,
    below: Mapping[str, Iterable[str]] = MappingProxyType({}),
) -> list[str]:
    """Return a line for every bad field of a user's JSON, unknown fields first.

    Args:
        error: pydantic's.
        fields: the names that are allowed.
        below: the names that are allowed inside of a field, by that field.
    """
    lines: dict[bool, list[str]] = {True: [], False: []}
    for item in error.errors():
        location = item["loc"]
        is_unknown = item["type"] == "extra_forbidden"
        if is_unknown:
            outer = next((str(part) for part in location[:-1] if part in below), None)
            allowed = fields if outer is None else below[outer]
            hint = suggestion(str(location[-1]), allowed, plural="fields")
            lines[True].append(f"{_dotted(location)} is not a field. {hint}")
        else:
            lines[False].append(f"{_dotted(location)}: {_bad_value(item)}")
    return [*lines[True], *lines[False]]


def _bad_value(item: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    if item["type"] == "missing":
        return str(item["msg"])
    return f"{item['msg']} (found {shown_value(item['input'])})"


def shown_value(value: object) -> str:
    """Return a value as JSON writes it, short enough for a line."""
    if isinstance(value, dict | list):
        return json_kind(value)
    return json.dumps(value, ensure_ascii=False, default=str)[:_SHOWN_LENGTH]


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the value"

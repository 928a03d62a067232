"""Read looks, a background and a time of day from the words of prompts and captions."""

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

_Name = TypeVar("_Name")

Rgb = tuple[int, int, int]
HairStyle = Literal["long", "bob", "bun", "curly", "short"]
Background = Literal["studio", "beach", "forest", "mountain", "city", "indoors"]
TimeOfDay = Literal["day", "sunset", "night"]

_HAIR_COLOURS: dict[str, Rgb] = {
    "auburn": (143, 66, 38),
    "black": (38, 30, 34),
    "brown": (104, 64, 42),
    "brunette": (104, 64, 42),
    "blonde": (230, 190, 112),
    "blond": (230, 190, 112),
    "ginger": (196, 98, 48),
    "red": (164, 62, 38),
    "pink": (230, 140, 170),
    "blue": (88, 112, 184),
    "purple": (132, 92, 176),
    "silver": (200, 202, 210),
    "grey": (150, 150, 156),
    "white": (236, 234, 230),
}
_HAIR_STYLES: dict[str, HairStyle] = {
    "long": "long",
    "braid": "long",
    "ponytail": "long",
    "bob": "bob",
    "bun": "bun",
    "buns": "bun",
    "curly": "curly",
    "curls": "curly",
    "short": "short",
}
_EYE_COLOURS: dict[str, Rgb] = {
    "green": (79, 154, 99),
    "blue": (58, 108, 160),
    "brown": (84, 58, 40),
    "hazel": (120, 92, 48),
    "grey": (92, 98, 110),
    "gray": (92, 98, 110),
}
_SKINS: dict[str, Rgb] = {
    "fair": (248, 210, 180),
    "pale": (255, 224, 196),
    "tan": (228, 178, 138),
    "tanned": (228, 178, 138),
    "olive": (212, 166, 122),
    "brown": (154, 104, 72),
    "dark": (112, 74, 52),
    "black": (92, 60, 44),
}
_BACKGROUNDS: dict[Background, str] = {
    "beach": "beach sea ocean island seaside pool",
    "mountain": "mountain mountains hiking summit alps desert",
    "forest": "forest park nature garden trees woods field meadow",
    "indoors": "cafe café library office kitchen bedroom room restaurant bar gym shop museum home",
    "city": "city street urban rooftop downtown club concert market",
    "studio": "studio portrait plain indoor",
}
_TIMES: dict[TimeOfDay, str] = {
    "night": "night midnight moon moonlight stars neon club concert",
    "sunset": "sunset sunrise golden evening dusk dawn",
    "day": "day morning noon sunny summer daylight",
}
_HAIR = "hair|braids?|ponytail|bob|buns?|curls"


def looks_in(text: str) -> dict[str, Any]:
    """Return the fields of `traits.Person` that a text describes; the first words count."""
    lower = text.lower()
    found = {
        "hair": _colour_before(lower, _HAIR, _HAIR_COLOURS),
        "eyes": _colour_before(lower, "eyes?", _EYE_COLOURS),
        "skin": _colour_before(lower, "skin", _SKINS),
        "hair_style": _hair_style(lower),
        "has_freckles": True if "freckle" in lower else None,
        "has_glasses": True if re.search(r"\b(eye)?glasses\b", lower) else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def background_in(text: str) -> Background | None:
    """Return the background that a text names."""
    return _named(text, _BACKGROUNDS)


def time_in(text: str) -> TimeOfDay | None:
    """Return the time of day that a text names."""
    return _named(text, _TIMES)


def _colour_before(text: str, nouns: str, colours: Mapping[str, Rgb]) -> Rgb | None:
    match = re.search(rf"\b({'|'.join(colours)})\b(?:[\w -]{{0,14}}\W)?(?:{nouns})\b", text)
    return colours[match[1]] if match else None


def _hair_style(text: str) -> HairStyle | None:
    styles = "|".join(_HAIR_STYLES)
    match = re.search(rf"\b({styles})\b[\w -]{{0,14}}\b(?:{_HAIR})\b|\b(braid|bob|buns?)\b", text)
    return _HAIR_STYLES[match[1] or match[2]] if match else None


def _named(text: str, hints: Mapping[_Name, str]) -> _Name | None:
    words = set(re.findall(r"[^\W\d_]+", text.lower()))
    return next((name for name, hint in hints.items() if words & set(hint.split())), None)

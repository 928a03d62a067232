"""Find harmful characters in a name or in one line of text: one rule for both.

Refused is what ends a line, commands a terminal, cannot be stored as UTF-8 or XML (an S3 listing
is XML), or shows a text in another order than it is stored. Blanks, joiners and direction marks of
any language, emoji and letters that this Python does not know yet are ordinary text.
"""

import re
import unicodedata

_REFUSED_CATEGORIES = {
    "Cc": "a control character",
    "Cs": "half of a character (a lone surrogate)",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
# UAX #9: embeddings, overrides and isolates; "a\u202egnp.exe" is shown as "aexe.png".
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_PLANE_ENDS = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_NONCHARACTER = re.compile(f"[\ufdd0-\ufdef{_PLANE_ENDS}]")


def text_problem(text: str) -> str | None:
    """Describe the first harmful character of a line of text; None if it has none."""
    for position, character in enumerate(text, start=1):
        kind = _harm(character)
        if kind is not None:
            return f"it has {kind}, U+{ord(character):04X}, as its character {position}"
    return None


def harmless(text: str) -> str:
    """Return a text of any lines with every other harmful character as U+FFFD."""
    if text.isprintable():
        return text
    return "".join(
        character if character in "\n\t" or _harm(character) is None else "\ufffd"
        for character in text
    )


def _harm(character: str) -> str | None:
    if character in _BIDI_CONTROLS:
        return "a control character of text direction"
    if _NONCHARACTER.match(character):
        return "a code that is not a character"
    return _REFUSED_CATEGORIES.get(unicodedata.category(character))

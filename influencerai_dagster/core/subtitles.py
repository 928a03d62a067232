"""Parse subtitles of a video strictly: SubRip (SRT) becomes cues of plain text.

A cue has no markup: readers of SRT take `<i>` and the overrides of ASS (in braces) for commands,
and a tenant's text must stay text. How cues get into images lives in engines/ffmpeg/subtitles.py.
"""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

from influencerai_dagster.core.base import Value

MAX_SRT_CHARACTERS = 100_000
_MAX_LINES = 4
_TIME = r"(\d{2}):([0-5]\d):([0-5]\d),(\d{3})"
_TIMING = re.compile(rf"{_TIME} --> {_TIME}", re.ASCII)
_NUMBER = re.compile(r"[1-9]\d{0,4}", re.ASCII)
_TAG = re.compile(r"</?[A-Za-z!?][^>]*>?")
_HIDDEN_CATEGORIES = {"Cc", "Cs"}


def _plain(line: str) -> str:
    """Return a line of text if it is nothing but text."""
    for character in "{}\\":
        if character in line:
            raise ValueError(f"{character!r} would be markup; take it out")
    tag = _TAG.search(line)
    if tag is not None:
        raise ValueError(f"{tag[0][:40]!r} is a tag; subtitles are plain text")
    if any(unicodedata.category(character) in _HIDDEN_CATEGORIES for character in line):
        raise ValueError("there is a control character; take it out")
    if not line.strip():
        raise ValueError("the text is empty")
    return line


class Cue(Value):
    """One text and when it is shown, in milliseconds from the start of the video."""

    start_ms: Annotated[int, Field(ge=0)]
    end_ms: Annotated[int, Field(ge=1)]
    lines: Annotated[
        tuple[Annotated[str, AfterValidator(_plain)], ...],
        Field(min_length=1, max_length=_MAX_LINES),
    ]


def parse_srt(text: str) -> tuple[Cue, ...]:
    """Read SRT: numbers from 1, times like 00:00:01,500, 1 to 4 lines of text, a blank line.

    Raises:
        ValueError: it is not so, or cues overlap; the text names the line, from 1.
    """
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    cues: list[Cue] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        end = next((i for i in range(at, len(lines)) if not lines[i].strip()), len(lines))
        cues.append(_cue(lines[at:end], at + 1, cues))
        at = end
    if not cues:
        raise ValueError("there is no subtitle in it")
    return tuple(cues)


def _cue(block: list[str], first_line: int, before: list[Cue]) -> Cue:
    """Read one block: number, timing, text."""
    number = block[0].strip()
    if _NUMBER.fullmatch(number) is None or int(number) != len(before) + 1:
        raise _bad(first_line, f"expected number {len(before) + 1}, found {number[:40]!r}")
    timing = _TIMING.fullmatch(block[1].strip()) if len(block) > 1 else None
    if timing is None:
        found = block[1].strip()[:60] if len(block) > 1 else ""
        raise _bad(first_line + 1, f"expected 00:00:01,000 --> 00:00:02,500, found {found!r}")
    start_ms, end_ms = _milliseconds(timing.groups()[:4]), _milliseconds(timing.groups()[4:])
    if start_ms >= end_ms:
        raise _bad(first_line + 1, "the text ends before it starts")
    if before and start_ms < before[-1].end_ms:
        raise _bad(first_line + 1, f"it starts before subtitle {len(before)} ends")
    texts = block[2:]
    if not 1 <= len(texts) <= _MAX_LINES:
        raise _bad(first_line + 2, f"expected 1 to {_MAX_LINES} lines of text, found {len(texts)}")
    for offset, line in enumerate(texts):
        try:
            _plain(line)
        except ValueError as error:
            raise _bad(first_line + 2 + offset, str(error)) from error
    return Cue(start_ms=start_ms, end_ms=end_ms, lines=tuple(line.strip() for line in texts))


def _milliseconds(parts: tuple[str, ...]) -> int:
    hours, minutes, seconds, milliseconds = (int(part) for part in parts)
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds


def _bad(line: int, problem: str) -> ValueError:
    return ValueError(f"line {line}: {problem}")

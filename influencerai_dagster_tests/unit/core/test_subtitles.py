"""SRT is read strictly, and what was read is nothing but text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from influencerai_dagster.core.subtitles import Cue, parse_srt

TIMING = "00:00:00,000 --> 00:00:01,000"


def test_numbers_times_and_lines_are_read() -> None:
    cues = parse_srt(
        "\ufeff1\r\n00:00:00,250 --> 00:00:01,000\r\nOne, <3 & two\r\nthree\r\n\r\n\r\n"
        "2\n01:02:03,004 --> 01:02:04,000\nфour"
    )
    assert cues == (
        Cue(start_ms=250, end_ms=1000, lines=("One, <3 & two", "three")),
        Cue(start_ms=3_723_004, end_ms=3_724_000, lines=("фour",)),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is no subtitle in it"),
        ("\n\n", "there is no subtitle in it"),
        (f"2\n{TIMING}\na", "line 1: expected number 1, found '2'"),
        (f"{TIMING}\na", "line 1: expected number 1"),
        (f"1\n{TIMING}\na\n\n3\n{TIMING}\nb", "line 5: expected number 2, found '3'"),
        (f"١\n{TIMING}\na", "line 1: expected number 1"),
        ("1\na", "line 2: expected 00:00:01,000 --> 00:00:02,500, found 'a'"),
        ("1", "line 2: expected 00:00:01,000"),
        ("1\n00:00:00.000 --> 00:00:01.000\na", "line 2: expected"),
        ("1\n00:00:60,000 --> 00:01:01,000\na", "line 2: expected"),
        (f"1\n{TIMING} X1:0 Y1:0\na", "line 2: expected"),
        ("1\n-0:00:00,000 --> 00:00:01,000\na", "line 2: expected"),
        ("1\n00:00:01,000 --> 00:00:01,000\na", "line 2: the text ends before it starts"),
        (f"1\n{TIMING}\na\n\n2\n{TIMING}\nb", "line 6: it starts before subtitle 1 ends"),
        (f"1\n{TIMING}", "line 3: expected 1 to 4 lines of text, found 0"),
        (f"1\n{TIMING}\na\nb\nc\nd\ne", "line 3: expected 1 to 4 lines of text, found 5"),
    ],
)
def test_what_is_not_strictly_srt_is_refused_by_its_line(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"^") as caught:
        parse_srt(text)
    assert str(caught.value).startswith(problem)


HOSTILE_LINES = [
    r"{\an8}up",
    r"{\p1}m 0 0 l 100 0 100 100{\p0}",
    r"a\Nb",
    "a}b",
    "<b>bold",
    "</font>",
    '<font face="x" size=900>a</font>',
    "<!--",
    "a\0b",
    "a\x1b[2J",
    "a\ud800b",
    "a\x85b",
]


@pytest.mark.parametrize("line", HOSTILE_LINES, ids=ascii)
def test_markup_and_control_characters_are_refused_by_line_and_in_no_cue(line: str) -> None:
    with pytest.raises(ValueError, match="line 4: "):
        parse_srt(f"1\n{TIMING}\nfine\n{line}")
    with pytest.raises(ValidationError):
        Cue(start_ms=0, end_ms=1, lines=(line,))


@given(st.text())
def test_whatever_is_accepted_has_no_character_that_could_be_markup(text: str) -> None:
    try:
        (cue,) = parse_srt(f"1\n{TIMING}\n{text}")
    except ValueError:
        return
    assert not set("".join(cue.lines)) & set("{}\\\n\r\0")

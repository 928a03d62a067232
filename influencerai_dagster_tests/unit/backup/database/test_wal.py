"""WAL segments have an order, and what is missing in it has a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.backup.database.wal import (
    Timeline,
    missing_segments,
    parse_history,
    segment_name,
    segment_number,
    segment_of_lsn,
)

MIB = 1024**2


def name(number: int, timeline: int = 1) -> str:
    return segment_name(timeline, number)


@given(st.integers(0, 2**32), st.sampled_from([MIB, 16 * MIB, 1024 * MIB]))
def test_a_name_and_its_number_tell_the_same(number: int, segment_bytes: int) -> None:
    assert segment_number(segment_name(1, number, segment_bytes), segment_bytes) == number


def test_after_the_last_segment_of_a_log_file_comes_the_first_of_the_next() -> None:
    last = segment_number("0000000100000000000000FF")
    assert last is not None
    assert name(last + 1) == "000000010000000100000000"


@pytest.mark.parametrize(
    "file_name",
    ["00000002.history", "000000010000000000000001.partial", "", "0000000100000000000000g1"],
)
def test_another_file_is_no_segment(file_name: str) -> None:
    assert segment_number(file_name) is None


def test_a_position_lies_in_its_segment() -> None:
    assert segment_of_lsn("0/3000148") == segment_number("000000010000000000000003")
    assert segment_of_lsn("2/FF000000") == segment_number("0000000100000002000000FF")


@given(st.integers(0, 10_000), st.sets(st.integers(0, 40)))
def test_exactly_what_is_not_there_is_missing(first: int, holes: set[int]) -> None:
    newest = first + 41
    there = [name(n) for n in range(first, newest + 1) if n - first not in holes]
    found = missing_segments([*there, "main-xlog.db"], name(first), Timeline(1))
    assert found == [name(first + hole) for hole in sorted(holes)]


def test_the_first_segment_is_missing_where_there_is_none() -> None:
    assert missing_segments([], name(7), Timeline(1)) == [name(7)]


HISTORY = """1	0/3002110	before 2026-11-20 03:00:00.000123+00

2	0/5000000	no recovery target specified
"""


def test_a_history_tells_where_each_timeline_was_left() -> None:
    timeline = parse_history(3, HISTORY)
    assert timeline == Timeline(3, ((1, 0x3002110), (2, 0x5000000)))
    assert timeline.has(1, 0x3002110)
    assert not timeline.has(1, 0x3002111)
    assert timeline.has(3, 2**40)
    assert not timeline.has(4, 0)


def test_each_segment_is_that_of_the_timeline_which_had_begun_in_it() -> None:
    timeline = parse_history(3, HISTORY)
    read = [timeline.segment(number) for number in range(2, 7)]
    assert read == [name(2), name(3, 2), name(4, 2), name(5, 3), name(6, 3)]


def test_what_came_on_a_timeline_after_it_was_left_fills_no_gap() -> None:
    timeline = parse_history(3, HISTORY)
    whole = [name(2), name(3, 2), name(4, 2), name(5, 3), name(6, 3)]
    left = [name(n) for n in range(3, 9)] + [name(5, 2)]
    assert missing_segments([*whole, *left], name(2), timeline) == []
    assert missing_segments([*whole[:-2], name(6, 3), *left], name(2), timeline) == [name(5, 3)]
    assert missing_segments([*whole, *left], name(2), Timeline(1)) == []


def test_other_sizes_of_segments_have_other_names() -> None:
    timeline = Timeline(2, ((1, 0x9000000),))
    read = [timeline.segment(number, 64 * MIB) for number in (1, 2, 63, 64)]
    assert read == [
        *("000000010000000000000001", "000000020000000000000002"),
        *("00000002000000000000003F", "000000020000000100000000"),
    ]
    assert missing_segments([read[0], read[3]], read[2], timeline, 64 * MIB) == [read[2]]

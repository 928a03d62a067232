"""WAL segments have an order, and what is missing in it has a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.domain.wal import (
    missing_segments,
    segment_name,
    segment_number,
    segment_of_lsn,
)

MIB = 1024**2


def name(number: int, timeline: str = "00000001") -> str:
    return segment_name(timeline, number)


@given(st.integers(0, 2**32), st.sampled_from([MIB, 16 * MIB, 1024 * MIB]))
def test_a_name_and_its_number_tell_the_same(number: int, segment_bytes: int) -> None:
    assert segment_number(segment_name("00000001", number, segment_bytes), segment_bytes) == number


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
    found = missing_segments([*there, "main-xlog.db"], name(first))
    assert found == [name(first + hole) for hole in sorted(holes)]


def test_the_first_segment_is_missing_where_there_is_none() -> None:
    assert missing_segments([], name(7)) == [name(7)]


def test_a_segment_of_a_newer_timeline_fills_its_place() -> None:
    there = [name(1), name(2, "00000002"), name(3, "00000002")]
    assert missing_segments(there, name(1)) == []

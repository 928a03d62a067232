"""Parse the names of WAL segments and timelines: their order, and which segments are missing.

Follows "WAL Internals" and "Timelines" of PostgreSQL's documentation and XLogFileName of its
source: 8 hex digits of timeline, then the segment's number as two words of 8.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

DEFAULT_SEGMENT_BYTES = 16 * 1024**2
_NAME = re.compile(r"[0-9A-F]{24}", re.ASCII)
_PAST = re.compile(r"^\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)", re.ASCII | re.MULTILINE)
_WORD = 8
_LOG_BYTES = 2**32


@dataclass(frozen=True)
class Timeline:
    """A timeline of a server: it begins a new one with every restore and every promotion.

    Attributes:
        number: grows with each new timeline.
        past: the timelines that led to it, oldest first, each with the position where it was left:
            later WAL of those is not part of this timeline.
    """

    number: int
    past: tuple[tuple[int, int], ...] = ()

    def has(self, timeline: int, position: int) -> bool:
        """Tell whether a replay of this timeline passes a position of another one."""
        return timeline == self.number or any(
            timeline == old and position <= left_at for old, left_at in self.past
        )

    def segment(self, number: int, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> str:
        """Return the name of the segment that PostgreSQL reads at a number.

        The segment in which a timeline was left exists twice: PostgreSQL reads the newer one.
        """
        for old, left_at in self.past:
            if number < left_at // segment_bytes:
                return segment_name(old, number, segment_bytes)
        return segment_name(self.number, number, segment_bytes)


def parse_history(number: int, text: str) -> Timeline:
    """Return the timeline of a history file, `<8 hex digits>.history`, from its text."""
    past = _PAST.findall(text)
    return Timeline(number, tuple((int(old), position_of_lsn(lsn)) for old, lsn in past))


def timeline_of(segment: str) -> int:
    """Return the timeline of a segment's name."""
    return int(segment[:_WORD], 16)


def segment_number(name: str, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> int | None:
    """Return the number of a segment, or None for another kind of file."""
    if _NAME.fullmatch(name) is None:
        return None
    log, segment = int(name[_WORD : 2 * _WORD], 16), int(name[2 * _WORD :], 16)
    return log * (_LOG_BYTES // segment_bytes) + segment


def segment_name(timeline: int, number: int, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> str:
    """Return the name of a segment."""
    log, segment = divmod(number, _LOG_BYTES // segment_bytes)
    return f"{timeline:08X}{log:08X}{segment:08X}"


def position_of_lsn(lsn: str) -> int:
    """Return a position like "0/3000148" as a number of bytes."""
    high, low = lsn.split("/")
    return int(high, 16) * _LOG_BYTES + int(low, 16)


def segment_of_lsn(lsn: str, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> int:
    """Return the number of the segment that holds a position."""
    return position_of_lsn(lsn) // segment_bytes


def missing_segments(
    names: Iterable[str],
    first: str,
    timeline: Timeline,
    segment_bytes: int = DEFAULT_SEGMENT_BYTES,
) -> Sequence[str]:
    """Return the missing segments between the first that is needed and the newest.

    Args:
        names: of the existing files; only segments of this timeline count.
        first: the segment that a backup begins with; it counts as missing if there is none.
        timeline: to be replayed.
        segment_bytes: wal_segment_size of the server.
    """
    there = {
        number: name
        for name in names
        if (number := segment_number(name, segment_bytes)) is not None
        and name == timeline.segment(number, segment_bytes)
    }
    begin = segment_number(first, segment_bytes)
    if begin is None:
        return []
    wanted = range(begin, max(begin, *there, begin) + 1)
    return [timeline.segment(n, segment_bytes) for n in wanted if n not in there]

"""Names of WAL segments: which come one after the other, and which of them are missing.

Follows "WAL Internals" of PostgreSQL's documentation and XLogFileName of its source: 8 hex digits
of timeline, then the segment's number as two words of 8.
"""

import re
from collections.abc import Iterable, Sequence

DEFAULT_SEGMENT_BYTES = 16 * 1024**2
_NAME = re.compile(r"[0-9A-F]{24}", re.ASCII)
_WORD = 8
_LOG_BYTES = 2**32


def segment_number(name: str, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> int | None:
    """Return a segment's place in the order of all, or None for another kind of file."""
    if _NAME.fullmatch(name) is None:
        return None
    log, segment = int(name[_WORD : 2 * _WORD], 16), int(name[2 * _WORD :], 16)
    return log * (_LOG_BYTES // segment_bytes) + segment


def segment_name(timeline: str, number: int, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> str:
    """Return the name of a segment of a timeline (8 hex digits)."""
    log, segment = divmod(number, _LOG_BYTES // segment_bytes)
    return f"{timeline}{log:08X}{segment:08X}"


def segment_of_lsn(lsn: str, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> int:
    """Return the number of the segment that holds a position like "0/3000148"."""
    high, low = lsn.split("/")
    return (int(high, 16) * _LOG_BYTES + int(low, 16)) // segment_bytes


def missing_segments(
    names: Iterable[str], first: str, segment_bytes: int = DEFAULT_SEGMENT_BYTES
) -> Sequence[str]:
    """Return the segments that are not there between the first that is needed and the newest.

    Args:
        names: of the files that are there; those that are no segments do not count. A segment of
            any timeline fills its place.
        first: the segment that a backup begins with; it is missing too if there is nothing newer.
        segment_bytes: wal_segment_size of the server.
    """
    there = {segment_number(name, segment_bytes) for name in names} - {None}
    begin = segment_number(first, segment_bytes)
    if begin is None:
        return []
    end = max((number for number in there if number is not None), default=begin)
    wanted = range(begin, max(begin, end) + 1)
    return [segment_name(first[:_WORD], n, segment_bytes) for n in wanted if n not in there]

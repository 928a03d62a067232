"""Read when a timeline began from the first record of its WAL, the checkpoint after a recovery.

Follows xlogrecord.h, xlog_internal.h (pages and their headers) and pg_control.h (`CheckPoint`,
`xl_end_of_recovery`) of the sources of PostgreSQL 15 to 18, on machines with little-endian numbers.
"""

import struct
from datetime import UTC, datetime, timedelta

PAGE_BYTES = 8192
_LONG_HEADER, _SHORT_HEADER = 40, 24
"""Of the first page of a segment, and of all others."""
_RECORD_BYTES = 26 + 72
_HEADER = struct.Struct("<16xBB")
_DATA = 26
_XLOG = 0
_SHUTDOWN_CHECKPOINT, _END_OF_RECOVERY = 0x00, 0x90
_KIND = 0xF0
_TIME_OF_CHECKPOINT = 64
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""PostgreSQL's own."""


def time_of_beginning(segment: bytes, offset: int) -> datetime | None:
    """Return when the recovery before a timeline ended, UTC.

    Args:
        segment: the first of the timeline, at least to a page after the offset.
        offset: where the timeline before was left.

    Returns:
        None if there is another kind of record, or an incomplete one.
    """
    record = _content(segment, offset)
    if len(record) < _RECORD_BYTES:
        return None
    info, manager = _HEADER.unpack_from(record)
    if manager != _XLOG:
        return None
    (checkpoint_seconds,) = struct.unpack_from("<q", record, _DATA + _TIME_OF_CHECKPOINT)
    (end_microseconds,) = struct.unpack_from("<q", record, _DATA)
    try:
        if info & _KIND == _SHUTDOWN_CHECKPOINT:
            return _UNIX_EPOCH + timedelta(seconds=checkpoint_seconds)
        if info & _KIND == _END_OF_RECOVERY:
            return _EPOCH + timedelta(microseconds=end_microseconds)
    except OverflowError:  # an unknown format
        return None
    return None


def _content(segment: bytes, offset: int) -> bytes:
    """Return the record at an offset, without the headers of pages in between."""
    found, position = b"", offset
    while len(found) < _RECORD_BYTES and position < len(segment):
        if position % PAGE_BYTES == 0:
            position += _SHORT_HEADER if position else _LONG_HEADER
        end = (position // PAGE_BYTES + 1) * PAGE_BYTES
        found += segment[position:end]
        position = end
    return found

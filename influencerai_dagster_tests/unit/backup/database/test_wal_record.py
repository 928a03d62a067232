"""The first record of a timeline tells when it began, wherever it stands in its segment."""

import struct
from datetime import UTC, datetime, timedelta

import pytest

from influencerai_dagster.backup.database.wal_record import PAGE_BYTES, time_of_beginning

MOMENT = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
OTHER_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def record(manager: int, info: int, data: bytes) -> bytes:
    """A record of WAL with its header, and the short header of its data."""
    return struct.pack("<IIQBBxxI", 0, 0, 0, info, manager, 0) + bytes([255, len(data)]) + data


CHECKPOINT = record(0, 0x00, struct.pack("<64xq16x", int(MOMENT.timestamp())))
PROMOTION = record(
    0, 0x90, struct.pack("<q72x", (MOMENT - OTHER_EPOCH) // timedelta(microseconds=1))
)


def segment(content: bytes, offset: int) -> bytes:
    """Pages with their headers, of which one has the content at an offset."""
    pages = bytearray(3 * PAGE_BYTES)
    location = offset
    for byte in content:
        if location % PAGE_BYTES == 0:
            location += 24 if location else 40
        pages[location] = byte
        location += 1
    return bytes(pages)


@pytest.mark.parametrize("content", [CHECKPOINT, PROMOTION], ids=["restore", "promotion"])
@pytest.mark.parametrize(
    "offset",
    [0, 40, 8096, PAGE_BYTES - 8, PAGE_BYTES],
    ids=["segment's begin", "first", "behind", "over a page's end", "page's begin"],
)
def test_the_time_of_the_recovery_is_found(content: bytes, offset: int) -> None:
    assert time_of_beginning(segment(content, offset), offset) == MOMENT


@pytest.mark.parametrize(
    "content",
    [
        record(1, 0x00, bytes(80)),
        record(0, 0x10, bytes(80)),
        CHECKPOINT[:60],
        record(0, 0x00, b"\xff" * 71 + b"\x7f" + bytes(8)),
    ],
    ids=["another manager", "another checkpoint", "half", "no time"],
)
def test_another_record_tells_no_time(content: bytes) -> None:
    data = segment(content, 2 * PAGE_BYTES + 100)[: 2 * PAGE_BYTES + 100 + len(content)]
    assert time_of_beginning(data, 2 * PAGE_BYTES + 100) is None

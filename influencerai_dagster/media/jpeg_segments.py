"""Check the segments of JPEG files without decoding them.

A segment costs a decoder far more time and memory than the four bytes that it takes at least, and a
scan goes over all pixels again for a few dozen bytes. So both have limits. Within the
limits, the decoder says what is wrong with a file.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

MAX_SEGMENTS = 1000
"""Before the pixels; the longest series in real files are a few hundred, of extended XMP."""
MAX_SCANS = 100
"""Progressive files of real encoders have about 10."""
_MAX_SKIPPED_BYTES = 64 * 1024
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, restarts, start of image
_PROGRESSIVE_FRAMES = frozenset({0xC2, 0xC6, 0xCA, 0xCE})  # Huffman and arithmetic coding


class _Segment(NamedTuple):
    marker: int
    begin: int
    end: int


def check_header(data: bytes) -> None:
    """Refuse a file whose header alone would keep a decoder busy; ValueError says why."""
    num_skipped = at = 0
    for number, segment in enumerate(_segments(data), start=1):
        num_skipped += segment.begin - at
        at = segment.end
        if number > MAX_SEGMENTS:
            raise ValueError(f"it has more than {MAX_SEGMENTS} segments before its pixels")
        if segment.marker == _START_OF_SCAN:
            break
    else:
        num_skipped += len(data) - at
    if num_skipped > _MAX_SKIPPED_BYTES:
        raise ValueError(f"it has more than {_MAX_SKIPPED_BYTES} bytes between its segments")


def check_scans(data: bytes) -> None:
    """Refuse a file with more scans than any encoder writes; ValueError says so."""
    num_scans = sum(segment.marker == _START_OF_SCAN for segment in _segments(data))
    if num_scans > MAX_SCANS:
        raise ValueError(f"it has {num_scans} scans; at most {MAX_SCANS} are decoded")


def is_one_scan(data: bytes, num_samples: int) -> bool:
    """Say whether the first scan has all samples, so that a decoder keeps no coefficients."""
    for segment in _segments(data):
        if segment.marker in _PROGRESSIVE_FRAMES:
            return False
        if segment.marker == _START_OF_SCAN:
            return data[segment.begin + 4 : segment.begin + 5] == bytes([num_samples])
    return False


def _segments(data: bytes) -> Iterator[_Segment]:
    """Yield the segments up to the end of the image, as libjpeg and Pillow find them."""
    at = 0
    while (match := _MARKER.search(data, at)) is not None:
        marker, begin, at = match[1][0], match.start(), match.end()
        if marker == _END_OF_IMAGE:
            return
        if marker not in _WITHOUT_LENGTH:
            if at + 2 > len(data):
                return
            at += max(2, struct.unpack_from(">H", data, at)[0])
        yield _Segment(marker, begin, at)

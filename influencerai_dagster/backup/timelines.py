"""The timelines in Barman's folder: how they follow from each other, and which was alive when.

A server begins a new one with every restore in place and every promotion of a standby. Follows
"Timelines" in chapter 25.3 of PostgreSQL's documentation.
"""

import gzip
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from influencerai_dagster.domain.wal import (
    Timeline,
    parse_history,
    segment_number,
    timeline_of,
)

_SEGMENT_CHARS = 24
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class KnownTimeline:
    """A timeline of which there is WAL.

    Attributes:
        began_at: when the receiver first heard of it, UTC; before everything for the oldest, which
            has no history.
    """

    timeline: Timeline
    began_at: datetime


def read_timelines(folder: Path) -> list[KnownTimeline]:
    """Return the timelines of a server's folder, those that began last at the end."""
    names = [path.name[:_SEGMENT_CHARS] for path in folder.glob("wals/*/*")]
    names += [path.name[:_SEGMENT_CHARS] for path in folder.glob("streaming/*")]
    known = {
        number: KnownTimeline(Timeline(number), datetime.fromtimestamp(0, UTC))
        for number in {timeline_of(name) for name in names if segment_number(name) is not None}
    }
    for path in (*folder.glob("streaming/*.history"), *folder.glob("wals/*.history")):
        timeline = parse_history(int(path.stem, 16), _text(path))
        known[timeline.number] = KnownTimeline(
            timeline, datetime.fromtimestamp(path.stat().st_mtime, UTC)
        )
    return sorted(known.values(), key=lambda item: (item.began_at, item.timeline.number))


def timeline_at(folder: Path, instant: datetime | None) -> Timeline:
    """Return the timeline on which the server lived at an instant; None is the newest."""
    known = read_timelines(folder)
    alive = [item for item in known if instant is None or item.began_at <= instant]
    return (alive or known[:1] or [_FIRST])[-1].timeline


def _text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if data.startswith(_GZIP) else data).decode()


def timeline_from(folder: Path, segment: str, segment_bytes: int) -> Timeline:
    """Return the newest timeline that a segment leads to; its own, where none is known."""
    number, place = timeline_of(segment), segment_number(segment, segment_bytes) or 0
    known = (item.timeline for item in reversed(read_timelines(folder)))
    leading = (line for line in known if line.has(number, place * segment_bytes))
    return next(leading, Timeline(number))


_FIRST = KnownTimeline(Timeline(1), datetime.fromtimestamp(0, UTC))

"""Read the WAL in Barman's folder: archived segments, and those being received."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from influencerai_dagster.backup.database.wal import Timeline, missing_segments, segment_number

GZIP = b"\x1f\x8b"
"""The first bytes of a segment that Barman has packed."""


@dataclass(frozen=True)
class WalArchive:
    """The state of the received WAL.

    Attributes:
        last_wal: the newest complete segment; None if there is none.
        partial_wal: the segment that is being received; None if there is none.
        received_at: when WAL last came, UTC; None if it never did.
    """

    last_wal: str | None
    partial_wal: str | None
    received_at: datetime | None


def read_wal_archive(folder: Path) -> WalArchive:
    """Return the state of the WAL in a server's folder."""
    archived = [path for path in folder.glob("wals/*/*") if _is_segment(path)]
    streaming = [path for path in folder.glob("streaming/*") if path.is_file()]
    whole = [path.name for path in (*archived, *streaming) if _is_segment(path)]
    partial = [path for path in streaming if path.suffix == ".partial"]
    return WalArchive(
        last_wal=max(whole, default=None),
        partial_wal=max((path.stem for path in partial), default=None),
        received_at=newest_change(partial) or newest_change(archived),
    )


def newest_change(paths: Iterable[Path]) -> datetime | None:
    """Return when the newest of some files was changed, UTC, without files that have moved."""
    times = []
    for path in paths:
        with suppress(FileNotFoundError):  # just moved to the archive
            times.append(path.stat().st_mtime)
    return datetime.fromtimestamp(max(times), UTC) if times else None


def missing_wal(
    folder: Path, since_wal: str, timeline: Timeline, segment_bytes: int
) -> Sequence[str]:
    """Return the missing segments that a replay of a timeline needs.

    Args:
        folder: Barman's folder of the server.
        since_wal: the first segment that is needed.
        timeline: to be replayed to its newest segment.
        segment_bytes: wal_segment_size of the server.
    """
    names = {path.stem for path in folder.glob("streaming/*")}
    names |= {path.name for path in folder.glob("wals/*/*")}  # also files that just moved
    return missing_segments(names, since_wal, timeline, segment_bytes)


def is_followed(folder: Path, segment: str) -> bool:
    """Return whether a segment was received completely, because the next one has begun."""
    if any(folder.glob(f"wals/*/{segment}")):
        return True
    streaming = {path.stem for path in folder.glob("streaming/*")}
    return segment in streaming and max(streaming) > segment


def unarchived(folder: Path) -> set[str]:
    """Return the segments that were received completely and not archived yet."""
    streaming = [path for path in folder.glob("streaming/*") if path.is_file()]
    newest = max((path.stem for path in streaming), default="")
    # Barman leaves the newest one until the next one has begun.
    return {path.name for path in streaming if _is_segment(path) and path.name < newest}


def _is_segment(path: Path) -> bool:
    return segment_number(path.name) is not None

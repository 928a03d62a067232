"""Copy the WAL that a backup needs into the folder that a restored server replays.

WAL is received meanwhile, and segments move: from `streaming/<name>.partial` to `streaming/<name>`
when they are complete, from there into the archive, where they are packed.
"""

import gzip
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from influencerai_dagster.backup.database.wal_archive import GZIP
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.parallel import map_in_threads

_HASH_CHARS = 16
"""Of a segment's name: its folder in Barman's archive."""
_PARTIAL = ".partial"
_LOOKS = 3
"""A segment moves twice; the folders are searched from its last location to its first."""
_CHUNK_BYTES = 1024**2
_WORKERS = 4


def copy_wal(folder: Path, segments: Sequence[str], segment_bytes: int, into: Path) -> None:
    """Copy segments and the histories of timelines; missing segments are left out.

    A server that finds the history of a newer timeline gives its own a higher number.

    Args:
        folder: Barman's folder of the server.
        segments: their names; the last ones may be partial.
        segment_bytes: wal_segment_size of the server.
        into: is made.

    Raises:
        PermanentError: one cannot be unpacked.
    """
    into.mkdir()
    histories = {
        path.name
        for pattern in ("streaming", "wals")
        for path in folder.glob(f"{pattern}/*.history")
    }
    for _ in map_in_threads(
        lambda name: _copy(folder, name, segment_bytes, into),
        [*segments, *histories],
        max_workers=_WORKERS,
    ):
        pass


def _copy(folder: Path, name: str, segment_bytes: int, into: Path) -> None:
    for _ in range(_LOOKS):
        for path in _locations(folder, name):
            if _is_copied(path, into / name):
                if path.suffix == _PARTIAL:
                    os.truncate(into / name, segment_bytes)  # PostgreSQL wants its full size
                return


def _locations(folder: Path, name: str) -> Iterator[Path]:
    """Yield where a segment may be; the partial one in the archive last."""
    archive = folder / "wals"
    if not name.endswith(".history"):
        archive /= name[:_HASH_CHARS]
    yield archive / name
    yield folder / "streaming" / name
    yield folder / "streaming" / f"{name}{_PARTIAL}"
    yield archive / f"{name}{_PARTIAL}"


def _is_copied(path: Path, into: Path) -> bool:
    try:
        source = path.open("rb")
    except FileNotFoundError:
        return False
    with source, into.open("wb") as target:
        is_packed = source.read(len(GZIP)) == GZIP
        source.seek(0)
        try:
            shutil.copyfileobj(
                gzip.GzipFile(fileobj=source) if is_packed else source, target, _CHUNK_BYTES
            )
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise PermanentError(
                f"WAL segment {path} is damaged ({error}): copy it back from the backup target, or "
                "restore to a target time before it"
            ) from error
    return True

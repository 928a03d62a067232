"""Copies the WAL that a backup needs to where a restored server replays it from, while more comes.

A segment moves on while it is looked for: from `streaming/<name>.partial` to `streaming/<name>`
when it is whole, from there into the archive, where it is packed.
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
"""It moves twice, and each look is from its last place to its first."""
_CHUNK_BYTES = 1024**2
_WORKERS = 4


def copy_wal(folder: Path, segments: Sequence[str], segment_bytes: int, into: Path) -> None:
    """Copy segments under their whole names, and what is known of timelines; leave out gaps.

    A server that finds the history of a newer timeline begins its own after that.

    Args:
        folder: of the server, Barman's.
        segments: their names; of the last ones there may be half.
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
        for path in _places(folder, name):
            if _is_copied(path, into / name):
                if path.suffix == _PARTIAL:
                    os.truncate(into / name, segment_bytes)  # at its begin it is empty
                return


def _places(folder: Path, name: str) -> Iterator[Path]:
    """Yield where it may be; what is left of a partial one counts least."""
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
                "restore to an instant before it"
            ) from error
    return True

"""Refuses a backup target that lies in what is backed up, or the reverse.

Such a backup copies its own copies, and is twice as large after every run; or it is the same files
as its source, and no backup at all. Addresses do not tell: one server has many names, and a folder
may be a bucket of a local S3 server. So a file is put at the target and looked for at the source.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from influencerai_dagster.backup.objects.connection import base_of, client_of
from influencerai_dagster.backup.objects.places import OFF_SITE_FOLDER, BackupTarget, Bucket, Place
from influencerai_dagster.backup.objects.rclone import Rclone
from influencerai_dagster.errors import InfluencerAIError, PermanentError
from influencerai_dagster.storage.object_store import ObjectStore

_TEXT = "By this file a backup sees that it does not copy itself.\n"


def refuse_overlap(rclone: Rclone, source: Place, target: BackupTarget, folder: str) -> None:
    """Make sure that source and target are apart.

    Args:
        rclone: with the remotes `source:` and `target:`.
        source: what is copied.
        target: where it is copied to.
        folder: at the target.

    Raises:
        PermanentError: one lies in the other; nothing was copied.
    """
    home = source if isinstance(source, Path) else source.disk
    is_apart = True
    if home is not None and isinstance(target.place, Path):
        not_copied = home / OFF_SITE_FOLDER if isinstance(source, Path) else None
        is_apart = _are_apart(home, target.place, folder, not_copied)
    if isinstance(source, Bucket):
        is_apart = is_apart and not _is_found(rclone, source, target.place)
    if not is_apart:
        raise PermanentError(
            f"{target.place} cannot be the backup target of {source}: one lies in the other, and "
            "the backup would copy itself. Set BACKUP_TARGET to another bucket or folder, best on "
            "another machine"
        )


def _are_apart(source: Path, place: Path, folder: str, not_copied: Path | None) -> bool:
    source, place = source.resolve(), place.resolve()
    if not_copied is not None and place.is_relative_to(not_copied.resolve()):
        return True
    return not (place.is_relative_to(source) or source.is_relative_to(place / folder))


def _is_found(rclone: Rclone, source: Bucket, place: Place) -> bool:
    # Always the same name for one target: keys that may not delete leave one file, not one a run.
    name = f"place-{hashlib.sha256(str(place).encode()).hexdigest()[:16]}.txt"
    rclone.write(f"target:{name}", _TEXT)
    with client_of(source) as client:
        store = ObjectStore(client, source.name)
        for path in _endings(place):
            with suppress(PermanentError):  # a key that this server does not take
                if store.head(f"{base_of(source)}{path / name}") is not None:
                    with suppress(InfluencerAIError):
                        rclone.delete("target:", [name])
                    return True
    return False


def _endings(place: Place) -> Iterator[PurePosixPath]:
    """Yield what the target may be called in the source: each ending of its path."""
    whole = place.resolve() if isinstance(place, Path) else PurePosixPath(place.path)
    parts = [part for part in whole.parts if part != "/"]
    for start in range(len(parts) + 1):
        yield PurePosixPath(*parts[start:])

"""Refuse a backup target that lies in the source of the backup, or the reverse.

Such a backup copies its own copies and doubles with every run; or its files are those of the source
and protect nothing. Addresses cannot be compared: a server has many names, and a folder may be a
bucket of a local S3 server. So a file is written to the target and searched at the source.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from influencerai_dagster.backup.objects.connection import base_of, client_of
from influencerai_dagster.backup.objects.locations import (
    OFF_SITE_FOLDER,
    BackupTarget,
    Bucket,
    Location,
)
from influencerai_dagster.backup.objects.rclone import Rclone
from influencerai_dagster.errors import InfluencerAIError, PermanentError
from influencerai_dagster.storage.object_store import ObjectStore

_TEXT = "This file shows a backup that it does not copy itself.\n"


def refuse_overlap(rclone: Rclone, source: Location, target: BackupTarget, folder: str) -> None:
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
    if home is not None and isinstance(target.location, Path):
        not_copied = home / OFF_SITE_FOLDER if isinstance(source, Path) else None
        is_apart = _are_apart(home, target.location, folder, not_copied)
    if isinstance(source, Bucket):
        is_apart = is_apart and not _is_found(rclone, source, target.location)
    if not is_apart:
        raise PermanentError(
            f"{target.location} cannot be the backup target of {source}: one lies in the other, "
            "and the backup would copy itself. Set BACKUP_TARGET to another bucket or folder, best "
            "on another machine"
        )


def _are_apart(source: Path, location: Path, folder: str, not_copied: Path | None) -> bool:
    source, location = source.resolve(), location.resolve()
    if not_copied is not None and location.is_relative_to(not_copied.resolve()):
        return True
    return not (location.is_relative_to(source) or source.is_relative_to(location / folder))


def _is_found(rclone: Rclone, source: Bucket, location: Location) -> bool:
    # Always the same name for one target: keys that may not delete leave one file, not one a run.
    name = f"place-{hashlib.sha256(str(location).encode()).hexdigest()[:16]}.txt"
    rclone.write(f"target:{name}", _TEXT)
    with client_of(source) as client:
        store = ObjectStore(client, source.name)
        for path in _endings(location):
            with suppress(PermanentError):  # a key that this server does not take
                if store.head(f"{base_of(source)}{path / name}") is not None:
                    with suppress(InfluencerAIError):
                        rclone.delete("target:", [name])
                    return True
    return False


def _endings(location: Location) -> Iterator[PurePosixPath]:
    """Yield what the target may be called in the source: each ending of its path."""
    whole = location.resolve() if isinstance(location, Path) else PurePosixPath(location.path)
    parts = [part for part in whole.parts if part != "/"]
    for start in range(len(parts) + 1):
        yield PurePosixPath(*parts[start:])

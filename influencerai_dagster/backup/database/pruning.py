"""Find the backups that no target time of the recovery window needs: they may be deleted.

Backups are ordered by their position in the WAL. Barman orders them by id, which is a local time:
in two time zones, around a daylight saving change, or after the clock was set back, ids are not in
the order of the WAL. Barman's `delete` then removes WAL that another backup needs, so it is not
called for such a backup. Follows should_remove_wals and delete_backup of Barman 3.19.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from influencerai_dagster.backup.database.backups import BackupInfo, BackupKind
from influencerai_dagster.core.recovery_window import is_past_window


def obsolete(
    backups: Iterable[BackupInfo], recovery_window: timedelta, now: datetime
) -> Sequence[str]:
    """Return the ids of full backups that no target time of the window needs, oldest first.

    A backup is needed until the next one is older than the window, and while its own time lies in
    the window. The incremental backups that are based on it are deleted with it.
    """
    full = [backup for backup in backups if backup.is_whole and backup.kind is BackupKind.FULL]
    return [
        earlier.backup_id
        for earlier, later in pairwise(sorted(full, key=lambda backup: backup.position))
        if all(
            backup.end is not None and is_past_window(backup.end, recovery_window, now)
            for backup in (earlier, later)
        )
    ]


def losing_wal_by_deletion(backups: Iterable[BackupInfo], backup_id: str) -> Sequence[BackupInfo]:
    """Return the backups that lose WAL if Barman deletes one and the incremental ones based on it.

    Args:
        backups: all there are.
        backup_id: the one to delete.
    """
    listed = {backup.backup_id: backup for backup in backups}
    if backup_id not in listed:
        return []
    deleted = _tree(listed.values(), backup_id)
    kept = [item for item in listed.values() if item.is_whole and item.backup_id not in deleted]
    left = {item.backup_id: item for item in kept}
    left |= {deleted_id: listed[deleted_id] for deleted_id in deleted}
    for deleted_id in deleted:
        gone = left.pop(deleted_id)
        if any(other_id < deleted_id and item.is_whole for other_id, item in left.items()):
            continue  # Barman removes WAL with the first by id alone, up to the next
        following = [item for _, item in sorted(left.items()) if item.is_whole]
        until = (following[0] if following else gone).begin_wal
        losing_wal = [item for item in kept if until is None or (item.begin_wal or "") < until]
        if losing_wal:
            return losing_wal
    return []


def deletable(backups: Iterable[BackupInfo], wanted: Iterable[str]) -> Sequence[str]:
    """Return the backups that can be deleted one after the other without loss of WAL.

    Args:
        backups: all there are.
        wanted: ids in the order of their deletion.
    """
    left, found = list(backups), list[str]()
    for backup_id in wanted:
        if not losing_wal_by_deletion(left, backup_id):
            found.append(backup_id)
            gone = _tree(left, backup_id)
            left = [item for item in left if item.backup_id not in gone]
    return found


def _tree(backups: Iterable[BackupInfo], backup_id: str) -> list[str]:
    """Return the ids of the backups based on one, and its own last, as Barman deletes them."""
    return [*(b.backup_id for b in backups if b.parent_backup_id == backup_id), backup_id]

"""Write and remove the recovery settings of a restored data directory.

They are recovery.signal, restore_command and recovery_target_* in postgresql.auto.conf.

Follows chapters 19.5.4 (archive recovery) and 19.5.5 (recovery target) of its documentation.
"""

import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

SIGNAL = "recovery.signal"
_STANDBY = "standby.signal"
_CONFIG = "postgresql.auto.conf"
_SETTINGS = (b"restore_command", b"recovery_")
_TARGETS = tuple(f"recovery_target{kind}" for kind in ("", "_lsn", "_name", "_xid", "_time"))
"""At most one may be set; postgresql.conf may have that of a recovery by hand."""
OVERRIDDEN = {
    "listen_addresses": "",
    "unix_socket_group": "",
    "ssl": "off",
    "huge_pages": "try",
    "external_pid_file": "",  # of the old server, which may run
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "warning",  # the log is searched for errors
    "lc_messages": "C",
    "archive_mode": "off",  # the archive belongs to the old server
    "archive_cleanup_command": "",
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "hot_standby": "off",  # "on" requires the max_connections of the old server
    "recovery_target_action": "promote",
    "synchronous_standby_names": "",  # a commit would wait for them forever
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
}
"""Settings of a restored server until it is verified: those of the old one may block or harm it."""


def write_recovery(
    data_dir: Path, wal_folder: str, timeline: int, target_time: datetime | None
) -> None:
    """Make the next start replay WAL, then open the databases for writing.

    Args:
        data_dir: a copied backup.
        wal_folder: in it; removed after the replay.
        timeline: of the server at the target time.
        target_time: with time zone; None replays all WAL.
    """
    settings = {
        "restore_command": f"cp {wal_folder}/%f %p",
        "recovery_end_command": f"rm -rf {wal_folder}",
        "recovery_target_timeline": str(timeline),
        **dict.fromkeys(_TARGETS, ""),
        "recovery_target_inclusive": "on",
    }
    if target_time is not None:
        settings["recovery_target_time"] = target_time.astimezone(UTC).isoformat(sep=" ")
        settings["recovery_target_action"] = "promote"
    _rewrite(data_dir, [f"{name} = '{value}'" for name, value in settings.items()])
    (data_dir / _STANDBY).unlink(missing_ok=True)  # of the server that was backed up
    (data_dir / SIGNAL).touch()


def remove_recovery(data_dir: Path) -> None:
    """Remove the recovery settings, so that the next start is a normal one."""
    _rewrite(data_dir, [])


def _rewrite(data_dir: Path, added: Sequence[str]) -> None:
    config = data_dir / _CONFIG
    config.touch()  # PostgreSQL does not need it
    # As bytes: a value is in the encoding of the database where it was set.
    lines = config.read_bytes().splitlines()
    kept = [line for line in lines if not line.startswith(_SETTINGS)]
    found, new = (
        config.stat(),
        config.with_name(f"{_CONFIG}.tmp"),
    )  # PostgreSQL's own name for it
    new.write_bytes(b"".join(line + b"\n" for line in [*kept, *map(str.encode, added)]))
    new.chmod(stat.S_IMODE(found.st_mode))
    os.chown(new, found.st_uid, found.st_gid)
    new.replace(config)

"""What tells PostgreSQL in a data directory how to recover: written for a replay, then taken out.

Follows chapters 19.5.4 (archive recovery) and 19.5.5 (recovery target) of its documentation.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

SIGNAL = "recovery.signal"
_STANDBY = "standby.signal"
_CONFIG = "postgresql.auto.conf"
_SETTINGS = ("restore_command", "recovery_")


def write_recovery(
    data_dir: Path, wal_folder: str, timeline: int, target_time: datetime | None
) -> None:
    """Let the next start replay WAL, then open the databases for writing.

    Args:
        data_dir: of a copied backup.
        wal_folder: in it; removed when all is replayed.
        timeline: the one on which the server was at target_time.
        target_time: with time zone; None replays all WAL there is.
    """
    settings = {
        "restore_command": f"cp {wal_folder}/%f %p",
        "recovery_end_command": f"rm -rf {wal_folder}",
        "recovery_target_timeline": str(timeline),
    }
    if target_time is not None:
        settings["recovery_target_time"] = target_time.astimezone(UTC).isoformat(sep=" ")
        settings["recovery_target_action"] = "promote"
    _rewrite(data_dir, [f"{name} = '{value}'\n" for name, value in settings.items()])
    (data_dir / _STANDBY).unlink(missing_ok=True)  # of the server that was backed up
    (data_dir / SIGNAL).touch()


def forget_recovery(data_dir: Path) -> None:
    """Take it out: the next start is a usual one."""
    _rewrite(data_dir, [])


def _rewrite(data_dir: Path, added: Sequence[str]) -> None:
    config = data_dir / _CONFIG
    lines = config.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(_SETTINGS)]
    with config.open("r+") as file:  # its owner stays
        file.truncate()
        file.writelines([*kept, *added])

"""The local stack's part in backups: a process that receives WAL as long as PostgreSQL runs."""

import sys
from collections.abc import Mapping

from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.wal_lag import read_wal_lag
from influencerai_dagster.errors import TransientError
from influencerai_dagster.local.supervisor import Service


def wal_receiver(environment: Mapping[str, str]) -> Service:
    """Return what the supervisor runs: `influencerai backup receive-wal`."""
    command = [sys.executable, "-m", "influencerai_dagster.cli", "backup", "receive-wal"]
    return Service(
        name="wal-receiver",
        command=command,
        environment=environment,
        needs=["dagster-storage"],  # which makes the databases
        is_alive=lambda: _is_receiving(environment),
        alive_seconds=300,
    )


def _is_receiving(environment: Mapping[str, str]) -> bool:
    """Ask PostgreSQL whether somebody receives WAL; while it does not answer, it cannot be told."""
    url = environment.get("BACKUP_DATABASE_URL") or environment["DATABASE_URL"]
    try:
        return read_wal_lag(url, BarmanServer.slot_name, None).is_receiving
    except TransientError:
        return True

"""The local stack's part in backups: a process that receives WAL as long as PostgreSQL runs."""

import sys
from collections.abc import Mapping

from influencerai_dagster.local.supervisor import Service


def wal_receiver(environment: Mapping[str, str]) -> Service:
    """Return what the supervisor runs: `influencerai backup receive-wal`."""
    command = [sys.executable, "-m", "influencerai_dagster.cli", "backup", "receive-wal"]
    return Service(
        name="wal-receiver",
        command=command,
        environment=environment,
        needs=["dagster-storage"],  # which makes the databases
    )

"""What Barman is told of a server: its folder, how it is reached, its programs.

What Barman does with it is in barman.py, the text of its configuration in barman_files.py.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from influencerai_dagster.backup.database.barman_files import (
    config_text,
    libpq_conninfo,
    segment_bytes,
)
from influencerai_dagster.errors import InsufficientStorageError
from influencerai_dagster.files import write_whole
from influencerai_dagster.processes import owned_environment
from influencerai_dagster.program_environment import POSTGRES_CLIENT

_MB = 1000**2


@dataclass(frozen=True)
class BarmanSettings:
    """A PostgreSQL server and the folder of its backups.

    Attributes:
        home: Barman's folder, made on first use; the server's files are in `<home>/<name>/`.
        database_url: of a user with REPLICATION who may call the backup functions.
        name: Barman's name of the server.
        slot_name: replication slot that keeps WAL on the server until it was received.
        retention_days: the recovery window.
        postgres_bin_dir: pg_basebackup, pg_receivewal and pg_combinebackup of the server's major
            version; None looks for them on PATH.
    """

    home: Path
    database_url: str
    name: str = "influencerai"
    slot_name: str = "influencerai_backup"
    retention_days: int = 30
    postgres_bin_dir: Path | None = None

    @property
    def folder(self) -> Path:
        """Everything Barman keeps of this server."""
        return self.home.resolve() / self.name

    @property
    def config_path(self) -> Path:
        """Barman's configuration; the password is not in it."""
        return self.home.resolve() / "barman.conf"

    @property
    def conninfo(self) -> str:
        """The URL without its password in libpq's other form, which is the one Barman reads."""
        return libpq_conninfo(self.database_url)[0]

    @property
    def environment(self) -> dict[str, str]:
        """The complete environment of Barman and its children; has the password."""
        environment = owned_environment(*POSTGRES_CLIENT)
        environment |= libpq_conninfo(self.database_url)[1]
        if self.postgres_bin_dir is not None:
            path = environment.get("PATH", os.defpath)
            environment["PATH"] = f"{self.postgres_bin_dir.resolve()}{os.pathsep}{path}"
        return environment

    def write_config(self) -> Path:
        """Write Barman's configuration if it is not as it must be, and make its folders.

        Raises:
            InsufficientStorageError: the disk is full.
        """
        home = self.home.resolve()
        for folder in (home, home / "locks", home / "conf.d"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = config_text(
            home=home,
            name=self.name,
            conninfo=self.conninfo,
            slot_name=self.slot_name,
            retention_days=self.retention_days,
            postgres_bin_dir=self.postgres_bin_dir,
        )
        if not self.config_path.exists() or self.config_path.read_text() != text:
            try:
                write_whole(self.config_path, text.encode())
            except OSError:
                self.check_space()
                raise
        return self.config_path

    def check_space(self) -> None:
        """Make sure that WAL can be received: else every backup waits for it in vain.

        Raises:
            InsufficientStorageError: it cannot.
        """
        free, needed = shutil.disk_usage(self.home).free, segment_bytes(self.folder)
        if free < needed:
            raise InsufficientStorageError(
                f"BACKUP_HOME ({self.home}) is full: {free / _MB:.0f} MB are free, a segment of "
                f"WAL takes {needed / _MB:.0f}. Make space there: until then the database keeps "
                "all WAL on its own disk"
            )

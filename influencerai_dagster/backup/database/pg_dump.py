"""Dump the databases with pg_dump, for servers that cannot be replicated (RDS, Cloud SQL).

A dump restores the time it began; for times between dumps there is the provider's own point-in-time
recovery. Follows the pages of pg_dump and pg_restore, custom format.

    <home>/dumps/<backup id>/<database>.dump
    <home>/dumps/<backup id>/dump.json         written last: completes the backup
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2.extensions

from influencerai_dagster.backup.database.backups import (
    BackupInfo,
    BackupKind,
    BackupStatus,
    newest_whole,
)
from influencerai_dagster.backup.database.barman_files import libpq_conninfo
from influencerai_dagster.core.base import Value
from influencerai_dagster.core.recovery_window import is_past_window
from influencerai_dagster.errors import InsufficientStorageError, PermanentError, TransientError
from influencerai_dagster.processes import owned_environment
from influencerai_dagster.program_environment import POSTGRES_CLIENT

_RECORD = "dump.json"
_ID = "%Y%m%dT%H%M%S"
_STAGING = ".unfinished"
_SHOWN_CHARS = 2000
_JOBS = min(4, os.cpu_count() or 1)
_DUMPED_FROM = re.compile(r"Dumped from database version: (\d+)")
_SERVER_IS_AWAY = re.compile(
    r"connection to server|server closed the connection|terminating connection|no connection to the"
)


class _File(Value):
    size_bytes: int
    sha256: str


class _Dump(Value):
    begin: datetime
    end: datetime
    files: Mapping[str, _File]


@dataclass(frozen=True)
class PgDumps:
    """Dumps of some databases.

    Attributes:
        home: BACKUP_HOME.
        database_urls: each is dumped; they may be on different servers.
        retention_days: the recovery window.
        postgres_bin_dir: the folder of pg_dump, not older than the server; None is PATH.
    """

    home: Path
    database_urls: tuple[str, ...]
    retention_days: int = 30
    postgres_bin_dir: Path | None = None

    @property
    def folder(self) -> Path:
        """All dumps."""
        return self.home.resolve() / "dumps"

    def backup(self, kind: BackupKind) -> BackupInfo:  # noqa: ARG002 - a dump is always full
        """Dump every database, one after the other.

        Raises:
            TransientError: a server is away.
            InsufficientStorageError: the disk is full.
            PermanentError: pg_dump is missing, or too old for the server.
        """
        begin = datetime.now(UTC)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in self.folder.glob(f"*{_STAGING}"):  # of a dump that was killed
            shutil.rmtree(leftover)
        backup_id = begin.strftime(_ID)
        staging = self.folder / f"{backup_id}{_STAGING}"
        staging.mkdir(mode=0o700)
        files = {}
        for url in self.database_urls:
            path = staging / f"{_database(url)}.dump"
            if path.exists():
                raise PermanentError(f"Two databases are named {path.stem}: rename one of them")
            self._dump(url, path)
            files[path.name] = _File(size_bytes=path.stat().st_size, sha256=_sha256(path))
        dump = _Dump(begin=begin, end=datetime.now(UTC), files=files)
        (staging / _RECORD).write_text(dump.model_dump_json(indent=2))
        staging.replace(self.folder / backup_id)
        return _info(backup_id, dump)

    def list_backups(self) -> list[BackupInfo]:
        """Return all complete dumps, oldest first."""
        return [
            _info(path.parent.name, _Dump.model_validate_json(path.read_bytes()))
            for path in sorted(self.folder.glob(f"*/{_RECORD}"))
            if not path.parent.name.endswith(_STAGING)
        ]

    def obsolete_backups(self) -> list[str]:
        """Return the ids of dumps that are older than the recovery window."""
        now, window = datetime.now(UTC), timedelta(days=self.retention_days)
        backups = self.list_backups()
        newest = newest_whole(backups)
        return [
            backup.backup_id
            for backup in backups
            if backup.end is not None and is_past_window(backup.end, window, now)
            if backup != newest
        ]

    def delete(self, backup_id: str) -> None:
        """Delete a dump."""
        folder = self.folder / backup_id
        staging = folder.with_name(f"{backup_id}{_STAGING}")
        folder.replace(staging)  # a partly deleted dump must not be listed
        shutil.rmtree(staging)

    def verify(self, backup_id: str) -> None:
        """Compare the dumps with their checksums, and read their contents with pg_restore.

        Raises:
            PermanentError: a file is missing or changed; the text names it.
        """
        folder = self.folder / backup_id
        try:
            dump = _Dump.model_validate_json((folder / _RECORD).read_bytes())
        except FileNotFoundError:
            raise PermanentError(f"Backup {backup_id} is broken: it has no {_RECORD}") from None
        for name, file in dump.files.items():
            path = folder / name
            if not path.exists():
                raise PermanentError(f"Backup {backup_id} is broken: {name} is missing")
            if path.stat().st_size != file.size_bytes or _sha256(path) != file.sha256:
                raise PermanentError(f"Backup {backup_id} is broken: {name} was changed")
            self._run(["pg_restore", "--list", str(path)], {}, path.name)

    def major_version(self, backup_id: str) -> int:
        """Return the major version of the server that was dumped; 0 if it is unknown."""
        path = next(iter(sorted((self.folder / backup_id).glob("*.dump"))), None)
        if path is None:
            return 0
        try:
            listing = self._run(["pg_restore", "--list", str(path)], {}, path.name)
        except PermanentError:
            return 0  # `verify` reports what is broken
        found = _DUMPED_FROM.search(listing)
        return int(found[1]) if found else 0

    def load(self, backup_id: str, url: str, into: str) -> None:
        """Load the dump of a database into an empty one, on any server.

        Args:
            backup_id: the dump's.
            url: of the database that was dumped.
            into: the URL of the empty one.

        Raises:
            TransientError: the server went away, or is full; the database is incomplete.
            PermanentError: the server refuses something; the text is its own.
        """
        conninfo, secret = libpq_conninfo(into)
        path = self.folder / backup_id / f"{_database(url)}.dump"
        options = ["--no-owner", "--no-privileges", "--exit-on-error", f"--jobs={_JOBS}"]
        options += ["--no-password", f"--dbname={conninfo}"]
        self._run(["pg_restore", *options, str(path)], secret, path.name)

    def _dump(self, url: str, path: Path) -> None:
        conninfo, secret = libpq_conninfo(url)
        options = ["--format=custom", "--no-password", f"--file={path}"]
        self._run(["pg_dump", *options, f"--dbname={conninfo}"], secret, path.stem)

    def _run(self, command: list[str], secret: Mapping[str, str], what: str) -> str:
        program = command[0]
        if self.postgres_bin_dir is not None:
            command = [str(self.postgres_bin_dir / program), *command[1:]]
        try:
            done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
                command,
                env={**owned_environment(*POSTGRES_CLIENT), **secret},
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            raise PermanentError(
                f"{program} was not found: install PostgreSQL's client programs, or set "
                "BACKUP_POSTGRES_BIN_DIR"
            ) from None
        if done.returncode == 0:
            return done.stdout
        text = f"{program} of {what} failed: {' '.join(done.stderr.split())[-_SHOWN_CHARS:]}"
        if "No space left on device" in text:
            where = f"in {self.home}" if program == "pg_dump" else "on that server"
            raise InsufficientStorageError(f"{text}. Make space {where}")
        is_refused = program == "pg_restore" and not _SERVER_IS_AWAY.search(text)
        if "server version mismatch" in text or is_refused:
            raise PermanentError(text)
        raise TransientError(text)


def _database(url: str) -> str:
    name = psycopg2.extensions.parse_dsn(libpq_conninfo(url)[0]).get("dbname")
    if not name or "/" in name or name.startswith("."):
        raise PermanentError(f"The name of a database cannot be a file name: {name!r}. Rename it")
    return str(name)


def _info(backup_id: str, dump: _Dump) -> BackupInfo:
    return BackupInfo(
        backup_id=backup_id,
        kind=BackupKind.DUMP,
        status=BackupStatus.DONE,
        begin=dump.begin,
        end=dump.end,
        size_bytes=sum(file.size_bytes for file in dump.files.values()),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

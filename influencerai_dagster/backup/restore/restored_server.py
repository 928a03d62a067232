"""Run PostgreSQL on a restored data directory, for recovery and verification.

It listens on a Unix socket in a private folder and trusts every user there: no port can clash, no
client of the old server connects by mistake, and no password of that time is needed.
Follows chapters 19.5 (recovery target) and 20.1 (pg_hba.conf) of PostgreSQL's documentation.
"""

import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import psycopg2

from influencerai_dagster.backup.restore.recovery_settings import OVERRIDDEN
from influencerai_dagster.core.database_urls import database_url, libpq_parameters
from influencerai_dagster.db.data_dir import LOCK, give_to_server, open_way_for_server, server_user
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.processes import as_user, owned_environment
from influencerai_dagster.program_environment import program_environment

_SOCKETS = "influencerai-"
_PORT = 5432
"""Only the end of the socket's file name."""
_CONFIG = "postgresql.conf"
_POLL_SECONDS = 0.1
_STOP_SECONDS = 60.0
_LOG_LINES = 12
_ERROR_LINE = re.compile(r"\b(FATAL|PANIC|ERROR|WARNING|invalid|incorrect|could not|missing)\b")


@dataclass
class RestoredServer:
    """A server; a context manager that starts it and stops it at the end of the block.

    Attributes:
        data_dir: under root its owner becomes `nobody`.
        bin_dir: the folder of the programs `postgres` and `pg_isready`.
        is_end_enough: accept that the WAL ends before the target time.
        start_seconds: time limit for replaying the WAL.
    """

    data_dir: Path
    bin_dir: Path
    is_end_enough: bool = False
    start_seconds: float = 4 * 3600.0
    _process: "subprocess.Popen[bytes] | None" = None
    _socket_dir: Path = field(default_factory=Path)

    def url_of(self, url: str) -> str:
        """Return the URL of the database on this server, while it runs."""
        there = libpq_parameters(url)
        here = {"host": str(self._socket_dir), "port": str(_PORT)}
        return database_url(
            here | {name: there[name] for name in ("user", "dbname") if name in there}
        )

    def last_commit(self, url: str) -> datetime | None:
        """Return when the last replayed transaction was committed, UTC."""
        connection = psycopg2.connect(self.url_of(url))
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_last_xact_replay_timestamp()")
                (found,) = cursor.fetchone() or (None,)
        finally:
            connection.close()
        return found.astimezone(UTC) if isinstance(found, datetime) else None

    @property
    def log_path(self) -> Path:
        """The server's log; it is kept."""
        return self.data_dir.with_name(f"{self.data_dir.name}.log")

    def __enter__(self) -> Self:
        """Start it and wait until its recovery has ended.

        Raises:
            PermanentError: it ended instead; the text has lines of its log.
            TransientError: it was not ready in time.
        """
        self._prepare_folders()
        hba = self._socket_dir / "pg_hba.conf"
        hba.write_text("local all all trust\n")
        settings = {
            **OVERRIDDEN,
            "port": str(_PORT),
            "data_directory": str(self.data_dir),  # the configuration may name the old one
            "unix_socket_directories": str(self._socket_dir),
            "hba_file": str(hba),
        }
        if not (self.data_dir / _CONFIG).exists():  # Debian has it in /etc
            config = self._socket_dir / _CONFIG
            config.touch()
            settings["config_file"] = str(config)
        if self.is_end_enough:
            settings["recovery_target_time"] = ""
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - PostgreSQL's own program
                [str(self.bin_dir / "postgres"), "-D", str(self.data_dir), *options],
                env=owned_environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **as_user(server_user()),
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop it with a checkpoint."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)  # "fast": SIGTERM would wait for every client
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    def _prepare_folders(self) -> None:
        # Short: a Unix socket's path has at most 107 bytes.
        self._socket_dir = Path(tempfile.mkdtemp(prefix=_SOCKETS))
        give_to_server(self._socket_dir)
        give_to_server(self.data_dir)
        open_way_for_server(self.data_dir, self.bin_dir / "postgres")
        self.data_dir.chmod(0o700)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.start_seconds
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise PermanentError(
                    f"The restored PostgreSQL in {self.data_dir} did not start. Its log "
                    f"{self.log_path}: {self.error_lines()}"
                )
            if self._is_ready():
                return
            time.sleep(_POLL_SECONDS)
        raise TransientError(
            f"The restored PostgreSQL in {self.data_dir} was not ready within "
            f"{self.start_seconds:.0f} s: see {self.log_path}"
        )

    def _is_ready(self) -> bool:
        command = [
            str(self.bin_dir / "pg_isready"),
            "-q",
            "-h",
            str(self._socket_dir),
            "-p",
            str(_PORT),
        ]
        done = subprocess.run(command, env=program_environment(), check=False)  # noqa: S603 - as above
        return done.returncode == 0

    def log_text(self) -> str:
        """Return the server's log; empty if it has none."""
        with suppress(OSError):
            return self.log_path.read_text(errors="replace")
        return ""

    def error_lines(self) -> str:
        """Return the last lines of the log with an error or warning."""
        lines = self.log_text().splitlines()
        found = [line for line in lines if _ERROR_LINE.search(line)] or lines
        return " | ".join(found[-_LOG_LINES:]) or "it is empty"


def find_bin_dir(given: Path | None) -> Path:
    """Return the folder of PostgreSQL's programs: the one given, or that of `postgres` on PATH.

    Raises:
        PermanentError: `postgres` is not there.
    """
    found = shutil.which("postgres", path=None if given is None else str(given))
    if found is None:
        raise PermanentError(
            f"The program postgres is not in {given or 'a folder of PATH'}: set "
            "BACKUP_POSTGRES_BIN_DIR to the folder of PostgreSQL's programs"
        )
    return Path(found).parent


def left_socket_dir(data_dir: Path) -> Path | None:
    """Return the socket folder of a server that was killed; None if there is none."""
    with suppress(OSError, IndexError):
        folder = Path((data_dir / LOCK).read_text().splitlines()[4])
        if folder.name.startswith(_SOCKETS):
            return folder
    return None

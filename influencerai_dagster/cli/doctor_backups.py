"""Check backups for `influencerai doctor`: programs, the server's settings, age."""

import re
import shutil
import subprocess
from datetime import UTC, datetime

from influencerai_dagster.backup.database.backups import BackupKind, too_old, wal_problem
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.barman_program import script
from influencerai_dagster.backup.database.databases import FIRST_WITH_INCREMENTAL
from influencerai_dagster.backup.database.wal_lag import postgres_cursor, read_wal_lag
from influencerai_dagster.cli.backup import HOW_TO_HAVE_A_BACKUP
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.program_environment import program_environment
from influencerai_dagster.settings import Settings
from influencerai_dagster.wiring.backups import database_backups

_FEATURES = """
SELECT current_setting('server_version_num')::int / 10000,
       current_setting('summarize_wal', true),
       rolreplication OR rolsuper,
       (SELECT string_agg(spcname, ', ' ORDER BY spcname) FROM pg_tablespace
        WHERE spcname NOT IN ('pg_default', 'pg_global'))
FROM pg_roles WHERE rolname = current_user
"""


def programs(settings: Settings) -> str:
    """Return the versions of the programs that backups run."""
    if settings.backup.database_mode == "pg_dump":
        return f"pg_dump {_version(_postgres_program(settings, 'pg_dump'))}"
    basebackup = _version(_postgres_program(settings, "pg_basebackup"))
    return f"barman {_version(script())}, pg_basebackup {basebackup}"


def backups(settings: Settings) -> str:
    """Return how old the newest backup is, after a look at the server's settings and the WAL."""
    found = database_backups(settings)
    full_kind, has_incremental = BackupKind.FULL, True
    if isinstance(found, BarmanServer):
        has_incremental = _check_server(found)
        received_at = found.archive_status().received_at
        problem = wal_problem(read_wal_lag(found.database_url, found.slot_name, received_at))
        if problem:
            raise PermanentError(f"{problem}. Keep `influencerai backup receive-wal` running")
    else:
        full_kind = BackupKind.DUMP
    listed = found.list_backups()
    now = datetime.now(UTC)
    problems = too_old(listed, now, full_kind=full_kind, has_incremental=has_incremental)
    if problems:
        raise PermanentError(
            f"{'; '.join(problems)}: {HOW_TO_HAVE_A_BACKUP}. See database_backup in the Dagster UI"
        )
    note = "" if settings.backup.target else "; all on this disk: set BACKUP_TARGET"
    return f"{len(listed)} in {settings.backup.home.resolve()}{note}"


def _check_server(server: BarmanServer) -> bool:
    """Return whether the server has incremental backups, if its settings allow backups at all."""
    with postgres_cursor(server.database_url) as cursor:
        cursor.execute(_FEATURES)
        version, summarize_wal, may_replicate, tablespaces = cursor.fetchone() or (0, None, 0, None)
    if not may_replicate:
        raise PermanentError(
            "the user of BACKUP_DATABASE_URL may not replicate: ALTER ROLE … REPLICATION, or set "
            "BACKUP_DATABASE_MODE=pg_dump"
        )
    if tablespaces:
        raise PermanentError(
            f"the server has tablespaces ({tablespaces}), and restores refuse backups that have "
            "some: move what is in them to the default one, then DROP TABLESPACE"
        )
    if version >= FIRST_WITH_INCREMENTAL and summarize_wal != "on":
        raise PermanentError(
            "summarize_wal is off, which incremental backups need: ALTER SYSTEM SET summarize_wal "
            "= on; SELECT pg_reload_conf()"
        )
    return bool(version >= FIRST_WITH_INCREMENTAL)


def _postgres_program(settings: Settings, name: str) -> str:
    folder = settings.backup.postgres_bin_dir
    found = shutil.which(name, path=None if folder is None else str(folder))
    if found is None:
        raise PermanentError(
            f"{name} was not found: install PostgreSQL's client programs of the server's version, "
            "or set BACKUP_POSTGRES_BIN_DIR"
        )
    return found


def _version(program: str) -> str:
    answer = subprocess.run(  # noqa: S603 - programs that backups run
        [program, "--version"],
        env=program_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"\d+(\.\d+)+", answer.stdout)
    if answer.returncode != 0 or found is None:
        raise PermanentError(
            f"{program} does not run: {answer.stderr.strip() or answer.returncode}"
        )
    return found[0]

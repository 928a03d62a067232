"""Dumps of the small system that backed_up.py makes, with a job that is open in them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from subprocess import run

from influencerai_dagster.backup.database.backups import BackupInfo, BackupKind
from influencerai_dagster.backup.database.pg_dump import PgDumps
from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.local.postgres import programs_dir
from influencerai_dagster_tests.testing.backed_up import LINK, BackedUp, execute
from influencerai_dagster_tests.testing.catalog_rows import submit_one
from influencerai_dagster_tests.testing.waiting import wait_until


@dataclass(frozen=True)
class Dumped:
    """What there is to restore from.

    Attributes:
        first: a dump; later a table was made, and one more dump was taken.
    """

    system: BackedUp
    dumps: PgDumps
    first: BackupInfo

    def copied(self, folder: Path) -> "Dumped":
        """Return the same with files of its own, to be broken."""
        system = self.system.copied(folder)
        run([*LINK, str(self.dumps.home), str(folder / "dumps")], check=True)
        return replace(self, system=system, dumps=replace(self.dumps, home=folder / "dumps"))


def dumped_system(system: BackedUp, home: Path) -> Dumped:
    """Dump both databases twice."""
    engine = create_catalog_engine(system.database_url)
    submit_one(engine)
    engine.dispose()
    dumps = PgDumps(home, system.databases.urls, postgres_bin_dir=programs_dir())
    first = dumps.backup(BackupKind.DUMP)
    execute(system.database_url, "CREATE TABLE after_the_first_dump ()")
    wait_until(lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%S}" > first.backup_id, "the next second")
    dumps.backup(BackupKind.DUMP)
    return Dumped(system, dumps, first)

"""Copy the files of a physical backup to a new data directory.

`barman restore` is not used: its rsync takes half as long again as a plain copy, and it overwrites
the tablespaces of the server that was backed up. The WAL is in wal_copy.py. Follows chapter
25.3.5 of PostgreSQL's documentation, "Recovering Using a Continuous Archive Backup".
"""

import errno
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from influencerai_dagster.backup.database.base_files import MANIFEST
from influencerai_dagster.errors import InsufficientStorageError, PermanentError, TransientError
from influencerai_dagster.processes import owned_environment
from influencerai_dagster.storage.parallel import map_in_threads

_COMBINE = "pg_combinebackup"
_WORKERS = 4
_SHOWN_CHARS = 2000
# A recovering server syncs its whole folder first. The manifest of a copy is of no use: that server
# changes the files at once.
_COMBINE_OPTIONS = ("--no-sync", "--no-manifest")


def copy_base(chain: Sequence[Path], into: Path, bin_dir: Path | None) -> None:
    """Copy a backup; the files are not synced to the disk.

    Args:
        chain: the data directories of a full backup and of the incremental ones on it, in order.
        into: the data directory; does not exist yet, or is empty.
        bin_dir: the folder of pg_combinebackup; None is PATH.

    Raises:
        PermanentError: pg_combinebackup is needed and missing.
        InsufficientStorageError: the disk is full; what was written stays.
        TransientError: pg_combinebackup failed; the text is its own.
    """
    if len(chain) == 1:
        _copy_folder(chain[0], into)
        (into / MANIFEST).unlink()
    else:
        _combine(chain, into, bin_dir)


def refuse_tablespaces(data_dir: Path) -> None:
    """Make sure that all files of a backup are in one folder.

    Raises:
        PermanentError: the backup has tablespaces.
    """
    found = sorted(path.name for path in data_dir.glob("pg_tblspc/*"))
    if found:
        raise PermanentError(
            f"{data_dir} has tablespaces ({', '.join(found)}), in folders of the server that was "
            "backed up. Restore it by hand with `barman restore --tablespace <name>:<folder>` "
            "(needs rsync), and move their tables to the default tablespace"
        )


def _copy_folder(source: Path, into: Path) -> None:
    files: list[tuple[Path, Path]] = []
    for found, _, names in os.walk(source):
        folder, there = Path(found), into / Path(found).relative_to(source)
        there.mkdir(mode=0o700, parents=True, exist_ok=True)
        files += [(folder / name, there / name) for name in names]
    for _ in map_in_threads(lambda pair: shutil.copy(*pair), files, max_workers=_WORKERS):
        pass


def _combine(chain: Sequence[Path], into: Path, bin_dir: Path | None) -> None:
    program = shutil.which(_COMBINE, path=None if bin_dir is None else str(bin_dir))
    if program is None:
        raise PermanentError(
            f"{_COMBINE} is not in {bin_dir or 'a folder of PATH'}: set BACKUP_POSTGRES_BIN_DIR to "
            "the folder of PostgreSQL's programs, 17 or newer"
        )
    command = [program, *map(str, chain), f"--output={into}", *_COMBINE_OPTIONS]
    environment = {**owned_environment(), "LC_ALL": "C"}  # its errors are compared
    done = subprocess.run(  # noqa: S603 - PostgreSQL's own program
        command, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0:
        text = f"{_COMBINE} failed to make {into}: {done.stderr.strip()[-_SHOWN_CHARS:]}"
        if os.strerror(errno.ENOSPC) in text:
            raise InsufficientStorageError(text)
        raise TransientError(text)

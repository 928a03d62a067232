"""Keep DATA_DIR private to its owner: photos, LoRAs and images of every tenant are in it."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from influencerai_dagster.db.data_dir import PASS_THROUGH

_OTHERS = 0o077


def make_private(folder: Path) -> None:
    """Make a folder, and close it and what is in it to all other users.

    Under root PostgreSQL is another user, who passes through the folder to its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for item in folder.iterdir():
        with suppress(FileNotFoundError, PermissionError):  # removed just now; or of another user
            found = item.stat()
            if found.st_uid == os.geteuid() and found.st_mode & _OTHERS:
                item.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
    folder.chmod(stat.S_IRWXU | (PASS_THROUGH if os.geteuid() == 0 else 0))

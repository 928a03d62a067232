"""Make a data directory of PostgreSQL with initdb, for the user that PostgreSQL runs as.

PostgreSQL refuses to run as root: under root it runs as `nobody`, which is on every machine.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

import psutil

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.processes import as_user, owned_environment

USER_UNDER_ROOT = "nobody"
PASS_THROUGH = 0o001
"""What others may do with the folders above a data directory."""
LOCK = "postmaster.pid"
"""Of a data directory: its first line is a process id, the fifth the folder of its socket."""
_SHOWN_CHARS = 2000


def server_user() -> str | None:
    """Return the user that PostgreSQL has to run as; None is ours."""
    return USER_UNDER_ROOT if os.geteuid() == 0 else None


def init_data_dir(
    data_dir: Path, bin_dir: Path, *, superuser: str, password: str, options: Sequence[str]
) -> None:
    """Run initdb.

    Args:
        data_dir: is made; must be empty if it is there.
        bin_dir: the folder of PostgreSQL's programs.
        superuser: the name of the first user.
        password: of that user.
        options: further ones of initdb.

    Raises:
        PermanentError: initdb is missing, or failed; the text is its own.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    give_to_server(data_dir)
    open_way_for_server(data_dir, bin_dir / "initdb")
    user = as_user(server_user())
    with NamedTemporaryFile("w", dir=data_dir.parent) as password_file:
        password_file.write(password)
        password_file.flush()
        os.chown(password_file.name, user.get("user", -1), user.get("group", -1))
        command = [str(bin_dir / "initdb"), "-D", str(data_dir), "-U", superuser]
        command += [f"--pwfile={password_file.name}", *options]
        try:
            done = subprocess.run(  # noqa: S603 - PostgreSQL's own program
                command,
                env=owned_environment(),
                capture_output=True,
                text=True,
                check=False,
                **user,
            )
        except FileNotFoundError:
            raise PermanentError(
                f"The program initdb is not in {bin_dir}: set BACKUP_POSTGRES_BIN_DIR to the "
                "folder of PostgreSQL's programs"
            ) from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-_SHOWN_CHARS:]
        raise PermanentError(f"initdb failed for data directory {data_dir}: {said}")


def give_to_server(folder: Path) -> None:
    """Under root, make PostgreSQL's user the owner of a folder and of all that is in it."""
    user = as_user(server_user())
    if user:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user["user"], user["group"], follow_symlinks=False)


def open_way_for_server(*paths: Path) -> None:
    """Under root, let other users pass through the folders above these paths, not read them."""
    if server_user() is None:
        return
    for path in paths:
        for folder in path.parents:
            mode = folder.stat().st_mode
            if not mode & PASS_THROUGH:
                folder.chmod(mode | PASS_THROUGH)


def running_postgres(data_dir: Path) -> int | None:
    """Return the id of the PostgreSQL process that runs in a data directory, or None.

    The lock of a killed server counts only if its process id belongs to a postgres now.
    """
    try:
        pid = int((data_dir / LOCK).read_text().splitlines()[0])
        name = psutil.Process(pid).name()
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    return pid if "postgres" in name else None

"""Makes an empty data directory by `initdb`, for dumps to be loaded into."""

import getpass
import os
import secrets
import subprocess
from pathlib import Path
from tempfile import NamedTemporaryFile

from influencerai_dagster.backup.restore.restored_server import as_user, open_way_to
from influencerai_dagster.core.database_urls import libpq_parameters
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.program_environment import program_environment

# The locale needs no package of the machine; a dump brings none.
_OPTIONS = ("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale")


def make_data_dir(data_dir: Path, superuser_url: str, bin_dir: Path) -> None:
    """Make it; under root it belongs to `nobody`.

    Args:
        data_dir: must not be there yet, or be empty.
        superuser_url: names the superuser and has the password, without which nobody gets in.
        bin_dir: where `initdb` is.

    Raises:
        PermanentError: initdb is not there, or refuses.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    user, url = as_user(), libpq_parameters(superuser_url)
    owner = user.get("user", -1), user.get("group", -1)
    if user:
        os.chown(data_dir, *owner)
        open_way_to(data_dir)
        open_way_to(bin_dir / "initdb")
    with NamedTemporaryFile("w", dir=data_dir.parent) as password:
        password.write(url.get("password") or secrets.token_urlsafe())
        password.flush()
        os.chown(password.name, *owner)
        command = [str(bin_dir / "initdb"), "-D", str(data_dir), f"--pwfile={password.name}"]
        command += ["-U", url.get("user") or getpass.getuser(), *_OPTIONS]
        try:
            done = subprocess.run(  # noqa: S603 - PostgreSQL's own program
                command,
                env=program_environment(),
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
        raise PermanentError(
            f"initdb could not make {data_dir}: {' '.join(done.stderr.split())[-2000:]}"
        )

"""CPU of everyday commands against importing the libraries that they cannot do without.

CPU seconds, each in a new process: reading the disk and other programs do not count.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

from benchmarks.comparisons import Comparison
from benchmarks.servers import running_catalog
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant

ROUNDS = 5
_PROGRAM = ("-m", "influencerai_dagster.cli")
_HELP_LIBRARIES = "typer.rich_utils"
_LIBRARIES = "psycopg2, pydantic, rich.table, sqlalchemy.dialects.postgresql, sqlalchemy.orm, typer"
_COMMANDS = {
    "--help": _HELP_LIBRARIES,
    "tenant list": _LIBRARIES,
    "jobs list --tenant acme": _LIBRARIES,
}


def run() -> Sequence[Comparison]:
    """Measure CPU seconds of commands, with those of starting Python on both sides."""
    ours: dict[str, list[float]] = {command: [] for command in _COMMANDS}
    baseline: dict[str, list[float]] = {command: [] for command in _COMMANDS}
    with running_catalog() as database_url:
        with transaction(create_catalog_engine(database_url)) as session:
            add_tenant(session, "acme")
        environment = {**os.environ, "DATABASE_URL": database_url}
        for is_warm in (False, *[True] * ROUNDS):  # the first writes what .pyc files are missing
            for command, libraries in _COMMANDS.items():
                spent = _cpu_seconds((*_PROGRAM, *command.split()), environment)
                least = _cpu_seconds(("-c", f"import {libraries}"), environment)
                if is_warm:
                    ours[command].append(spent)
                    baseline[command].append(least)
    return [
        Comparison(
            name=f"influencerai {command}",
            baseline_name=f"import {libraries}",
            unit="CPU s",
            measured=ours[command],
            baseline=baseline[command],
            better="lower",
        )
        for command, libraries in _COMMANDS.items()
    ]


def _cpu_seconds(arguments: Sequence[str], environment: Mapping[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:  # the settings would read a .env of this one
        command = [sys.executable, *arguments]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

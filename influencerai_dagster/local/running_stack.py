"""Which stack the command line means, and what to say when it is not running.

How its settings are found is in environment.py.
"""

from pathlib import Path
from urllib.parse import urlsplit

import psutil

from influencerai_dagster.local.environment import STACK_ENV_FILE
from influencerai_dagster.local.probes import listens
from influencerai_dagster.local.processes import STACK_ID
from influencerai_dagster.settings import Settings, load_settings

_PROJECT_DIR = Path(__file__).parents[2]


def why_no_stack(settings: Settings) -> str | None:
    """Say that there is no server to work with, and how to start one; None if there may be one.

    A server that DATABASE_URL names is not looked at here: its own errors speak of it.

    Args:
        settings: as `running_stack_settings` found them.
    """
    if "database_url" in load_settings().model_fields_set:
        return None
    data_dir = settings.data_dir.resolve()
    env_file = data_dir / STACK_ENV_FILE
    if not env_file.exists():
        return (
            f"No stack runs in {data_dir} (there is no {STACK_ENV_FILE}), and DATABASE_URL names "
            f"no other server. {_how_to_start()}{_other_stacks(data_dir)}"
        )
    address = urlsplit(settings.database_url)
    if address.port is None or listens(address.port):
        return None
    return (
        f"The stack in {data_dir} does not run: PostgreSQL does not answer at "
        f"{address.hostname}:{address.port}, as {env_file} says. {_how_to_start()}. If it is just "
        f"starting, wait: {data_dir / 'logs' / 'postgres.log'} says what it does"
        f"{_other_stacks(data_dir)}"
    )


def _how_to_start() -> str:
    if (_PROJECT_DIR / "Makefile").exists():
        return f"Start it: `make up` in {_PROJECT_DIR}"
    return "Start it: `influencerai up`"


def _other_stacks(data_dir: Path) -> str:
    """Name the stacks that run elsewhere on this machine: one of them may be the one meant."""
    found = {
        environ["DATA_DIR"]
        for process in psutil.process_iter(["environ"])
        if STACK_ID in (environ := process.info["environ"] or {}) and "DATA_DIR" in environ
    }
    others = sorted(found - {str(data_dir)})
    if not others:
        return ""
    listed = " or ".join(f"DATA_DIR={folder}" for folder in others)
    return f". Stacks that run elsewhere: for one of them set {listed}"
